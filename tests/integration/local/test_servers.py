"""Servers start, serve, stop, and survive a run that was killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.local.postgres import Postgres
from app.local.process import LocalError, Process, Program, end_leftovers, running
from app.local.valkey import Valkey, free_port


@pytest.fixture
def data_dir():
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    yield directory
    end_leftovers(directory)
    shutil.rmtree(directory)


def rows(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as it:
        cursor = it.execute(query)
        return cursor.fetchall() if cursor.description else []


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_databases_are_created_cloned_and_dropped(postgres_server):
    origin = postgres_server.create_database("origin")
    rows(origin, "CREATE TABLE fruit AS SELECT 'quince' AS name")
    clone = postgres_server.create_database("clone", template="origin")
    assert rows(clone, "SELECT name FROM fruit") == [("quince",)]
    with psycopg.connect(clone.replace("+psycopg", "")):  # an open session does not keep it
        postgres_server.drop_database("clone")
    assert not postgres_server.has_database("clone")
    postgres_server.drop_database("clone")
    postgres_server.drop_database("origin")


def test_postgres_listens_on_no_port(postgres_server):
    assert rows(postgres_server.url(), "SHOW listen_addresses") == [("",)]
    connections = psutil.Process(postgres_server.pid).net_connections("tcp")
    assert connections == []


def test_postgres_keeps_its_data_and_leaves_no_process(data_dir):
    with running(Postgres(data_dir)) as first:
        rows(first.url(), "CREATE TABLE fruit AS SELECT 'medlar' AS name")
        pid = first.pid
    assert gone(pid, 0)
    with running(Postgres(data_dir)) as second:
        assert rows(second.url(), "SELECT name FROM fruit") == [("medlar",)]


def test_a_killed_run_blocks_nothing(data_dir):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from app.local.postgres import Postgres; from app.local.valkey import Valkey\n"
        "for server in (Postgres(Path(sys.argv[1])), Valkey(Path(sys.argv[1]))):\n"
        "    server.start(); server.wait_until_ready(); print(server.pid)\n"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [int(pid) for pid in killed.stdout.split()]
    assert len(left) == 2
    assert all(psutil.pid_exists(pid) for pid in left)
    with running(Postgres(data_dir)) as server, running(Valkey(data_dir)) as queue:
        assert rows(server.url(), "SELECT 1") == [(1,)]
        assert queue.ready()
        assert all(gone(pid) for pid in left)


def test_a_lock_file_whose_pid_went_to_someone_else_is_no_obstacle(data_dir):
    with running(Postgres(data_dir)):
        lock = (data_dir / "postgres/postmaster.pid").read_text().splitlines()
    (data_dir / "postgres/postmaster.pid").write_text("\n".join([str(os.getpid()), *lock[1:]]))
    with running(Postgres(data_dir)) as server:
        assert server.ready()


def test_a_crashed_postgres_starts_again(data_dir):
    with running(Postgres(data_dir)) as server:
        rows(server.url(), "CREATE TABLE fruit AS SELECT 'sloe' AS name")
        os.kill(server.pid, signal.SIGKILL)
        assert gone(server.pid)
        assert not server.alive
        server.start()
        server.wait_until_ready()
        assert rows(server.url(), "SELECT name FROM fruit") == [("sloe",)]


def test_a_long_data_directory_gets_a_short_socket(data_dir):
    deep = data_dir / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = Postgres(deep)
    try:
        with running(Postgres(deep)) as server:
            assert rows(server.url(), "SELECT 1") == [(1,)]
    finally:
        shutil.rmtree(server.sockets)


def test_valkey_keeps_nothing_and_asks_for_its_password(data_dir):
    with running(Valkey(data_dir)) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("fruit", "damson")
        with (
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        server.start()
        server.wait_until_ready()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("fruit") is None
        pid = server.pid
    assert gone(pid, 0)


def test_a_server_that_cannot_start_says_why(data_dir, valkey_server):
    with (
        pytest.raises(LocalError, match="Address already in use"),
        running(Valkey(data_dir, valkey_server.port)),
    ):
        pass


def test_a_child_that_ignores_the_request_is_killed_with_its_own_children(data_dir):
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); time.sleep(600)\n"
    )
    program = Program(name="stubborn", argv=[sys.executable, "-c", stubborn], grace_seconds=0.2)
    process = Process(program, data_dir)
    process.start()
    while not process.log.read_text().endswith("\n"):
        time.sleep(0.02)
    grandchild = int(process.log.read_text())
    pid = process.pid
    process.stop()
    assert gone(pid, 0)
    assert gone(grandchild)


def test_a_child_has_a_session_of_its_own(valkey_server):
    assert os.getsid(valkey_server.pid) == valkey_server.pid != os.getsid(0)


def test_a_free_port_is_none_that_a_connection_is_given(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        given = taken.getsockname()[1]
        assert free_port() < 32_768  # as Linux has it unless told otherwise
        monkeypatch.setattr("app.local.valkey._PORTS", [given])
        with pytest.raises(LocalError, match="no port"):
            free_port()
