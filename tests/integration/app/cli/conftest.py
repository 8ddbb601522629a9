"""A service without a worker, the command line in its surroundings, and jobs ended by hand."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.db import outbox
from app.db.engine import make_engine
from app.domain.job_result import JobResult
from app.domain.jobs import FailureKind, JobError
from app.local.installation import installation
from app.local.valkey import free_port
from app.services.jobs import attempts
from app.settings import Settings
from app.storage.local import LocalStore
from tests.integration.app.headers import write_header

LEASE = timedelta(minutes=1)
RESULT = {"sparsity": 0.5, "seconds": 1.25}


@pytest.fixture(scope="session")
def house():
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    settings = Settings(data_dir=directory, api={"port": free_port()})
    model = directory / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    write_header(model / "model.safetensors", {})
    with installation(settings, report=print, workers=0) as running:
        yield running
    shutil.rmtree(directory)


@pytest.fixture
def secateur(house, monkeypatch):
    """Run the command; the key is found in the data directory."""
    for name, value in house.settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def engine(house):
    engine = make_engine(house.settings.database.url)
    yield engine
    engine.dispose()


class Hand:
    """Does by hand what a worker does."""

    def __init__(self, engine, store):
        self.engine, self.store = engine, store

    def claim(self, job_id):
        with self.engine.begin() as connection:
            # Other tests leave jobs waiting; this one overtakes them.
            outbox.set_priority(connection, job_id, 100)
            return attempts.claim(connection, worker="hand", lease=LEASE)

    def next(self):
        """Whatever waits, if anything does."""
        with self.engine.begin() as connection:
            return attempts.claim(connection, worker="hand", lease=LEASE)

    def heartbeat(self, job, phase, progress):
        with self.engine.begin() as connection:
            attempts.heartbeat(connection, job, lease=LEASE, phase=phase, progress=progress, log=())

    def succeed(self, job, files=(("config.json", b"{}"),), **figures):
        staging = self.store.stage(job.id, job.attempt)
        for name, content in dict(files).items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_bytes(content)
        artifacts = self.store.describe(job.id, job.attempt)
        self.store.publish(job.id, job.attempt)
        with self.engine.begin() as connection:
            result = JobResult(**RESULT | figures)
            attempts.succeed(connection, job, result=result, files=artifacts, log=())

    def fail(self, job):
        with self.engine.begin() as connection:
            error = JobError(FailureKind.USER, "model_load_failed", "tensor is missing")
            attempts.fail(connection, job, error, log=())


@pytest.fixture
def hand(house, engine):
    return Hand(engine, LocalStore(house.settings.storage.dir))


@pytest.fixture
def job_id(secateur):
    return secateur("submit", "tiny", "--method", "magnitude", "--sparsity", 0.5).stdout.strip()
