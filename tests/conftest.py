"""A real PostgreSQL and a real Valkey for whoever asks, one of each per test process."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from app.local.postgres import Postgres
from app.local.process import running
from app.local.valkey import Valkey

# The data is thrown away: nothing needs to survive a power cut.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Reports travel between processes as UTF-8, and some tests log what that cannot hold."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


WHOLE = ("tests/acceptance", "tests/chaos")  # folders whose tests share one installation


class Scheduler(LoadScopeScheduling):
    """Tests of a file go to one process, and those of a folder that shares an installation too."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return next((folder for folder in WHOLE if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)


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
