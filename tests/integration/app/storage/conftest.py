"""The stores that artifacts may lie in."""

import itertools

import pytest

from app.storage.store import open_store

_prefixes = (f"some/prefix-{number}" for number in itertools.count())


@pytest.fixture
def on_s3(weed, credentials, tmp_path):
    return open_store(tmp_path, f"{weed.bucket_url}/{next(_prefixes)}", weed.url)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    return open_store(tmp_path) if request.param == "local" else request.getfixturevalue("on_s3")
