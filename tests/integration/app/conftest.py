"""A real S3 server, with one user; a real HTTP server; a checkpoint to plan with."""

import shutil
import tempfile
from pathlib import Path

import pytest
import uvicorn

from app.local.process import running
from app.local.valkey import free_port
from app.main import create_app
from tests.integration.app.headers import SHAPES, write_header
from tests.integration.in_thread import in_thread
from tests.integration.oidc_issuer import Process
from tests.seaweedfs import ACCESS, SECRET, Weed


@pytest.fixture(scope="session")
def weed():
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    with running(Weed(directory)) as server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def issuer_process():
    process = Process()
    yield process
    process.close()


@pytest.fixture
def issuer(issuer_process):
    """An OpenID Connect issuer that says of itself what is right."""
    if issuer_process.process.poll() is not None:
        issuer_process.start()
    issuer_process.spoil()
    if [key["alg"] for key in issuer_process.http.get("/jwks").json()["keys"]] != ["RS256"]:
        issuer_process.rotate()
    issuer_process.person(sub="ada")
    return issuer_process


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


@pytest.fixture
def serving(settings):
    """The address of the API over HTTP."""
    port = free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_level="warning")
    server = uvicorn.Server(config)
    with in_thread(server):
        yield f"http://127.0.0.1:{port}"
