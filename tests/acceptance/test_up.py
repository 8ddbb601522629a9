"""`secateur up` as a user meets it: one command, Ctrl-C, and what is left after it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from app.local.process import end_leftovers
from app.local.valkey import free_port

NAMES = {"postgres", "valkey", "api", "maintenance", "worker"}


@pytest.fixture
def data_dir():
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    yield directory
    end_leftovers(directory)
    shutil.rmtree(directory)


class Up:
    """A running `secateur up`, in a process group of its own as a shell would have it."""

    def __init__(self, log, data_dir, *options):
        self.data_dir, self.log = data_dir, log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from app.cli.main import app; app()", "up"),
                *("--data-dir", str(data_dir), *options),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0,
        )

    def says(self):
        return Path(self.log.name).read_text()

    def wait_for(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text not in self.says():
            assert self.process.poll() is None, self.says()
            assert time.monotonic() < deadline, self.says()
            time.sleep(0.1)

    def pids(self):
        run = self.data_dir / "run"
        return {file.name: int(file.read_text().split()[0]) for file in run.iterdir()}

    def ctrl_c(self):
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def up(data_dir, *options):
    with tempfile.NamedTemporaryFile() as log:
        command = Up(log, data_dir, *options)
        try:
            yield command
        finally:
            if command.process.poll() is None:
                command.ctrl_c()


def family(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def left(processes, seconds=5):
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def methods(said):
    url = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    key = re.search(r"sct_\S+", said)[0]
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.get(f"{url}/v1/methods", headers=headers, trust_env=False)


def test_up_serves_with_the_printed_key_and_ctrl_c_leaves_nothing(data_dir):
    port = str(free_port())
    with up(data_dir, "--port", port) as first:
        first.wait_for("Press Ctrl-C")
        assert methods(first.says()).status_code == 200
        key = data_dir / "key"
        assert key.read_text().strip() in first.says()
        assert key.stat().st_mode & 0o777 == 0o600
        assert set(first.pids()) == NAMES
        everyone = family(first.process.pid)
        assert first.ctrl_c() == 0, first.says()
        assert first.says().endswith("Stopped.\n")
        assert "Traceback" not in first.says()
        assert left(everyone) == []
    with up(data_dir, "--port", port, "--workers", "2") as second:
        second.wait_for("Press Ctrl-C")
        assert key.read_text().strip() in second.says()
        assert methods(second.says()).status_code == 200
        assert set(second.pids()) == NAMES - {"worker"} | {"worker-1", "worker-2"}
        assert (data_dir / "broker").stat().st_mode & 0o777 == 0o600
        assert (data_dir / "url").read_text().strip() == f"http://127.0.0.1:{port}"
        assert second.ctrl_c() == 0, second.says()
    for file in ("broker", "url"):
        assert not (data_dir / file).exists(), "it belongs to a server that is gone"


def test_up_tells_where_it_runs_as_one_json_document(data_dir):
    port = free_port()
    with up(data_dir, "--port", str(port), "--workers", "0", "--json") as service:
        service.wait_for("Press Ctrl-C")
        assert service.ctrl_c() == 0, service.says()
        said = service.says()
    told = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
    assert told["url"] == f"http://127.0.0.1:{port}"
    assert told["key"] == (data_dir / "key").read_text().strip()
    assert told["data_dir"] == str(data_dir)


def test_two_of_them_do_not_share_a_data_directory_or_a_port(data_dir):
    port = str(free_port())
    with up(data_dir, "--port", port, "--workers", "0") as first:
        first.wait_for("Press Ctrl-C")
        with up(data_dir, "--workers", "0") as second:
            assert second.process.wait(60) == 1
            assert f"is in use by a running Secateur (pid {first.process.pid})" in second.says()
        (data_dir / "other").mkdir()
        with up(data_dir / "other", "--port", port, "--workers", "0") as third:
            assert third.process.wait(60) == 1
            assert (
                f"cannot listen on 127.0.0.1 port {port}: Address already in use;" in third.says()
            )
        assert methods(first.says()).status_code == 200


def test_what_dies_comes_back_and_a_killed_up_blocks_nothing(data_dir):
    port = str(free_port())
    with up(data_dir, "--port", port, "--workers", "0") as first:
        first.wait_for("Press Ctrl-C")
        before = first.pids()
        for name in ("valkey", "api"):
            os.kill(before[name], signal.SIGKILL)
            first.wait_for(f"{name} ended; starting it again")
        wait_ready(port)
        after = first.pids()
        assert {name for name in before if before[name] != after[name]} == {"valkey", "api"}
        everyone = family(first.process.pid)
        first.process.kill()
        first.process.wait()
    with up(data_dir, "--port", port, "--workers", "0") as second:
        second.wait_for("Press Ctrl-C")
        assert left(everyone) == []
        assert methods(second.says()).status_code == 200


def wait_ready(port, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("not ready")
