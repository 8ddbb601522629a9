"""A migrated database for each test, and the API over it."""

import itertools
from datetime import timedelta

import httpx2
import pytest
from starlette.testclient import TestClient

from app.db import migrate, projects
from app.db.engine import make_engine
from app.domain.access import DEFAULT_PROJECT, Limits
from app.domain.jobs import FailureKind, JobError
from app.local.valkey import free_port
from app.main import create_app, make_server
from app.queue import CeleryQueue
from app.services import attempts, keys
from app.settings import Settings
from tests.integration.app.headers import write_header
from tests.integration.cut_lines import cut_lines
from tests.integration.in_thread import in_thread

_numbers = itertools.count()


@pytest.fixture(scope="session")
def template_database(postgres_server):
    migrate.upgrade(postgres_server.create_database("template_migrated"))
    return "template_migrated"


@pytest.fixture
def database_url(postgres_server, template_database):
    name = f"test_{next(_numbers)}"
    yield postgres_server.create_database(name, template=template_database)
    postgres_server.drop_database(name)


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def model_root(tmp_path):
    model = tmp_path / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    write_header(model / "model.safetensors", {})
    return tmp_path / "models"


@pytest.fixture
def settings(database_url, valkey_server, tmp_path, model_root):
    return Settings(
        database={"url": database_url},
        queue={"url": valkey_server.url},
        data_dir=tmp_path,
        models={"roots": (model_root,)},
        api={"max_body_bytes": 4096},
    )


@pytest.fixture
def anonymous(settings):
    app, here = create_app(settings), ("127.0.0.1", 50000)
    with TestClient(app, raise_server_exceptions=False, client=here) as client:
        yield client


@pytest.fixture
def server(settings):
    """The API on a port of its own, for what streams or waits."""
    port = free_port()
    api = settings.api.model_copy(update={"port": port, "drain_seconds": 1})
    server = make_server(settings.model_copy(update={"api": api}))
    with in_thread(server):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def remote(server, engine):
    with engine.begin() as connection:
        secret = keys.create(connection, "remote")
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx2.Client(base_url=server, headers=headers, trust_env=False) as client:
        yield client


class Worker:
    """Does by hand what a worker does."""

    def __init__(self, engine):
        self.engine = engine

    def claim(self):
        with self.engine.begin() as connection:
            return attempts.claim(connection, worker="hand", lease=timedelta(minutes=1))

    def heartbeat(self, job, phase, progress, log=()):
        with self.engine.begin() as connection:
            lease = timedelta(minutes=1)
            return attempts.heartbeat(
                connection, job, lease=lease, phase=phase, progress=progress, log=log
            )

    def succeed(self, job, files=(), result=None):
        with self.engine.begin() as connection:
            result = result or {"sparsity": 0.5}
            return attempts.succeed(connection, job, result=result, files=files, log=())

    def fail(self, job, error=None):
        error = error or JobError(FailureKind.USER, "model_load_failed", "a tensor is missing")
        with self.engine.begin() as connection:
            attempts.fail(connection, job, error, log=())


@pytest.fixture
def queue(valkey_server):
    queue = CeleryQueue(valkey_server.url)
    queue._redis.flushall()
    yield queue
    queue.close()


@pytest.fixture
def lines(database_url):
    """A proxy before the database that cuts connections."""
    with cut_lines(database_url) as lines:
        yield lines


@pytest.fixture
def cut_engine(lines):
    engine = make_engine(lines.url, pool_size=4)
    yield engine
    engine.dispose()


@pytest.fixture
def worker(engine):
    return Worker(engine)


@pytest.fixture
def client(anonymous, engine):
    with engine.begin() as connection:
        secret = keys.create(connection, "test")
    anonymous.headers["Authorization"] = f"Bearer {secret}"
    return anonymous


@pytest.fixture
def limits(engine):
    """Set the limits of the default project."""

    def set_limits(**limits):
        with engine.begin() as connection:
            projects.set_limits(connection, DEFAULT_PROJECT, Limits(**limits))

    return set_limits
