"""A real S3 server, with one user; a checkpoint to plan with."""

import shutil
import tempfile
from pathlib import Path

import pytest

from app.local.process import running
from tests.integration.app.headers import SHAPES, write_header
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


@pytest.fixture
def checkpoint(model_root):
    file = model_root / "tiny" / "model.safetensors"
    write_header(file, SHAPES)
    return file
