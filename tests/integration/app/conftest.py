"""A real S3 server, with one user."""

import shutil
import tempfile
from pathlib import Path

import pytest

from app.local.process import running
from tests.seaweedfs import ACCESS, SECRET, Weed


@pytest.fixture(scope="session")
def weed():
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    with running(Weed(directory)) as server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
