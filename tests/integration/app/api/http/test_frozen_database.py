"""PostgreSQL is stopped, not gone: connections stay open and say nothing."""

import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from app.db import migrate
from app.local.postgres import Postgres
from app.local.process import running


@pytest.fixture
def database(tmp_path):
    """A server of its own, which others do not need meanwhile."""
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    with running(Postgres(directory, {"fsync": "off"})) as server:
        yield server


@pytest.fixture
def database_url(database):
    url = database.create_database("frozen")
    migrate.upgrade(url)
    return url


@pytest.fixture
def settings(settings):
    database = settings.database.model_copy(update={"answer_seconds": 2})
    return settings.model_copy(update={"database": database})


def signalled(server, number):
    leader = psutil.Process(server.pid)
    for process in (leader, *leader.children(recursive=True)):
        os.kill(process.pid, number)


def test_a_frozen_database_is_a_503_in_bounded_time(server, remote, database):
    assert remote.get("/v1/jobs").status_code == 200
    headers = dict(remote.headers)

    def ask(_):
        began = time.monotonic()
        answer = httpx2.get(f"{server}/v1/jobs", headers=headers, timeout=60, trust_env=False)
        return answer, time.monotonic() - began

    signalled(database, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(100) as pool:
            asked = pool.map(ask, range(100))
            assert httpx2.get(f"{server}/livez", trust_env=False, timeout=5).status_code == 200
            ready = httpx2.get(f"{server}/readyz", trust_env=False, timeout=15)
            answers = list(asked)
    finally:
        signalled(database, signal.SIGCONT)
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == "not reachable"
    assert {answer.status_code for answer, _ in answers} == {503}
    assert {answer.json()["code"] for answer, _ in answers} == {"database_unavailable"}
    assert all("Retry-After" in answer.headers for answer, _ in answers)
    assert max(seconds for _, seconds in answers) < 30
    deadline = time.monotonic() + 30
    while remote.get("/v1/jobs").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
