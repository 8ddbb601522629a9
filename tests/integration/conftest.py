"""A migrated database for each test, and the API over it."""

import itertools

import pytest
from starlette.testclient import TestClient

from app.db import migrate
from app.db.engine import make_engine
from app.main import create_app
from app.services import keys
from app.settings import Settings

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
    (model / "model.safetensors").write_bytes(b"")
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
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous, engine):
    with engine.begin() as connection:
        secret = keys.create(connection, "test")
    anonymous.headers["Authorization"] = f"Bearer {secret}"
    return anonymous
