"""`secateur worker`: finds the service of this machine, works for its class, ends when asked."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

PATIENCE = 120


@pytest.fixture
def start(house, tmp_path):
    """Start the command as a user would who runs `secateur up` with the same data directory."""
    started = []

    def run(*arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from app.cli.main import app; app()", "worker", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_works_for_its_class_and_ends_when_asked(start, secateur, house, tmp_path):
    data_dir = str(house.settings.data_dir)
    worker = start("--class", "spare", "--device", "cpu", "--data-dir", data_dir)
    deadline = time.monotonic() + PATIENCE
    while "spare" not in secateur("workers", "list").stdout:
        assert worker.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    asked = ("tiny", "--method", "magnitude", "--sparsity", 0.5, "--set", "worker_class=spare")
    ran = secateur("submit", *asked, "--watch", "--json")
    # The model has no weights: that it was tried tells that the worker was there.
    assert json.loads(ran.stdout)["attempt"] == 1, ran.output
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0, (tmp_path / "log").read_text()
    assert secateur("workers", "retire", "spare").exit_code == 0


def test_a_worker_without_a_service_says_so(secateur, monkeypatch, tmp_path):
    secateur("jobs")  # the surroundings are set
    monkeypatch.delenv("SECATEUR_QUEUE__URL")
    ran = secateur("worker", "--data-dir", tmp_path)
    assert ran.exit_code == 2
    assert f"no `secateur up` runs in {tmp_path}" in ran.stderr


def test_a_device_there_is_not_is_refused(secateur):
    ran = secateur("worker", "--device", "gpu")
    assert ran.exit_code == 2
    assert "SECATEUR_WORKER__DEVICE" in ran.stderr
