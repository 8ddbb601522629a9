"""Files on S3: clients are sent there, and their keys are not."""

import hashlib
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import hf_hub_download, snapshot_download

from app.cli.client import Client
from app.cli.commands.jobs.download import download_bars, fetch
from app.settings.shared import Storage


@pytest.fixture
def settings(settings, weed, credentials, tmp_path):
    prefix = f"{weed.bucket_url}/{tmp_path.name}"
    storage = Storage(dir=tmp_path / "artifacts", url=prefix, endpoint=weed.url)
    return settings.model_copy(update={"storage": storage})


def weights(served):
    return (served.directory / "model.safetensors").read_bytes()


def test_a_file_is_a_redirect_that_needs_no_key(served):
    path = f"{served.url}/v1/{served.repo}/artifacts/model.safetensors"
    key = {"Authorization": f"Bearer {served.key}"}
    head = httpx2.head(path, headers=key, trust_env=False)
    assert head.headers["content-length"] == str(len(weights(served)))
    answer = httpx2.get(path, headers=key, trust_env=False)
    assert answer.headers["etag"] == head.headers["etag"]
    assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
    assert hashlib.sha256(weights(served)).hexdigest() in answer.headers["etag"]
    assert httpx2.get(answer.headers["location"], trust_env=False).content == weights(served)


def test_the_clients_of_the_hub_follow(served, tmp_path):
    told = {"endpoint": served.url, "token": served.key, "cache_dir": tmp_path / "cache"}
    snapshot = snapshot_download(served.repo, **told)
    path = hf_hub_download(served.repo, "model.safetensors", **told)
    assert path.startswith(snapshot)
    assert Path(path).read_bytes() == weights(served)


def test_the_command_line_goes_on_where_it_stopped(served, tmp_path):
    digest = hashlib.sha256(weights(served)).hexdigest()
    partial = tmp_path / f".model.safetensors.{digest[:12]}.partial"
    partial.write_bytes(weights(served)[:1000])
    with Client(served.url, served.key) as client, download_bars() as bars:
        fetch(client, served.repo.removeprefix("jobs/"), tmp_path, bars)
    assert (tmp_path / "model.safetensors").read_bytes() == weights(served)


def test_the_archive_is_streamed_through(served):
    key = {"Authorization": f"Bearer {served.key}"}
    answer = httpx2.get(f"{served.url}/v1/{served.repo}/archive", headers=key, trust_env=False)
    assert answer.status_code == 200
    assert weights(served) in answer.content
