"""A job that has succeeded and is to be published; destinations; one round of the publisher."""

import pytest
import uvicorn

from app.local.valkey import free_port
from app.services.publications import publisher
from app.settings.maintenance import Publishing
from app.storage.store import open_store
from tests.integration.app.services.publications.hub_server import HubServer
from tests.integration.in_thread import in_thread
from tests.seaweedfs import ACCESS, SECRET

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
FILES = {
    "model.safetensors": bytes(range(256)) * 1000,
    "config.json": b"{}",
    "plots/sparsity.svg": b"<svg/>",
    "manifest.json": b'{"format": 1}',
}
SIZES = {"dense": 256000, "packed": 140000, "elements": 64000, "nonzeros": 32000}
RESULT = {"sparsity": 0.5, "sizes": SIZES, "warnings": []}


@pytest.fixture
def hub():
    """A hub and its address."""
    hub, port = HubServer(), free_port()
    server = uvicorn.Server(uvicorn.Config(hub.app(), port=port, log_level="warning"))
    hub.url = f"http://127.0.0.1:{port}"
    with in_thread(server):
        yield hub


@pytest.fixture
def destinations():
    """By name; tests add theirs before the API starts."""
    return {}


@pytest.fixture
def settings(settings, destinations):
    return settings.model_copy(update={"publishing": Publishing(destinations=destinations)})


@pytest.fixture
def published():
    """What the job's files are; by path."""
    return FILES


@pytest.fixture
def result():
    """What the job's worker reports."""
    return RESULT


@pytest.fixture
def finished(client, worker, settings, published, result):
    """Submit a job with these publications and have it succeed."""
    kept = settings.storage
    store = open_store(kept.dir, kept.url, kept.endpoint)

    def finish(*publications):
        wanted = [{"destination": name, "target": target} for name, target in publications]
        answer = client.post("/v1/jobs", json=JOB | {"publish": wanted})
        assert answer.status_code == 202, answer.text
        job = worker.claim()
        staging = store.stage(job.id, job.attempt)
        for name, content in published.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_bytes(content)
        files = open_store(kept.dir).describe(job.id, job.attempt)
        store.publish(job.id, job.attempt)
        assert worker.succeed(job, files, result)
        return job.id

    return finish


@pytest.fixture
def attempt(engine, settings):
    """One round of the publisher."""
    kept = settings.storage
    store = open_store(kept.dir, kept.url, kept.endpoint)
    places = settings.publishing.destinations
    return publisher.Publisher(engine, store, places).publish_due


@pytest.fixture
def s3_destination(weed, monkeypatch):
    monkeypatch.setenv("PUSH_S3", f"{ACCESS}:{SECRET}")
    return {"kind": "s3", "url": "s3://published/models", "endpoint": weed.url, "secret": "PUSH_S3"}
