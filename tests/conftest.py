"""A real PostgreSQL and a real Valkey for whoever asks, one of each per test process."""

import shutil
import tempfile
from pathlib import Path

import pytest

from app.local.postgres import Postgres
from app.local.process import running
from app.local.valkey import Valkey

# The data is thrown away: nothing needs to survive a power cut.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def server_dir():
    # Short and outside pytest's own directories: as root, PostgreSQL runs as another account.
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server(server_dir):
    with running(Postgres(server_dir, FAST)) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(server_dir):
    with running(Valkey(server_dir)) as server:
        yield server
