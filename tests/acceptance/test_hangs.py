"""A child that hangs, or cannot start, costs its worker no more than a bounded time."""

import signal
import time

import httpx2
import psutil
import pytest

from app.local.process import Process
from app.local.valkey import free_port
from app.local.workers import worker_program
from tests.acceptance.test_kills import SLOW, TINY, process, pruning

LONG = 300  # seconds; a wait ends as soon as what it waits for is there


def below(service):
    """The child and its watchdog."""
    child = process(service, "worker").children()[0]
    return child, child.children()[0]


def gone(each):
    return not each.is_running() or each.status() == psutil.STATUS_ZOMBIE


def until(service, done):
    deadline = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < deadline
        service.running.tend(0.05)


def stopped_and_queued(service):
    """A job whose child is stopped in the middle, one behind it, the child and its watchdog."""
    hung = service.submit(**SLOW)
    service.wait(hung, pruning, LONG)
    child, watchdog = below(service)
    child.send_signal(signal.SIGSTOP)
    return hung, service.submit(**TINY), child, watchdog


def test_a_cancelled_job_whose_child_is_stopped_makes_room_for_the_next(service):
    hung, following, child, watchdog = stopped_and_queued(service)
    service.http.post(f"/v1/jobs/{hung}/cancel")
    assert service.finish(hung, LONG)["status"] == "cancelled"
    assert service.finish(following, LONG)["status"] == "succeeded"
    assert gone(child)
    until(service, lambda: gone(watchdog))
    left = service.running.settings.storage.dir.glob(f"*/{hung}-*")
    assert list(left) == []


def test_a_child_that_hangs_without_its_watchdog_makes_room_for_the_next(service):
    hung, following, child, watchdog = stopped_and_queued(service)
    watchdog.kill()
    service.http.post(f"/v1/jobs/{hung}/cancel")
    assert service.finish(hung, LONG)["status"] == "cancelled"
    assert service.finish(following, LONG)["status"] == "succeeded"
    assert gone(child)


def test_a_worker_whose_child_is_stopped_goes_on_with_another(service):
    job_id = service.submit(**SLOW)
    service.wait(job_id, pruning, LONG)
    child, _ = below(service)
    child.send_signal(signal.SIGSTOP)
    job = service.finish(job_id, LONG)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert gone(child)


@pytest.fixture
def broken(service, tmp_path):
    """A second worker, whose disk is not there."""
    port = free_port()
    disk = tmp_path / "disk"
    disk.write_text("a file where a directory should be")
    settings = {
        "SECATEUR_STORAGE__DIR": str(disk / "artifacts"),
        "SECATEUR_TELEMETRY__METRICS_PORT": str(port),
    }
    program = worker_program(service.running.settings.environment() | settings, "broken")
    worker = Process(program, tmp_path)
    worker.start()
    yield worker, f"http://127.0.0.1:{port}/readyz", disk
    worker.stop()


def ready(url):
    try:
        return httpx2.get(url, trust_env=False)
    except httpx2.TransportError:
        return None


def test_a_worker_that_cannot_start_says_why_and_takes_nothing(service, broken):
    worker, url, disk = broken
    until(service, lambda: (a := ready(url)) is not None and "cannot start" in a.text)
    assert ready(url).status_code == 503
    jobs = [service.finish(service.submit(**TINY), LONG) for _ in range(6)]
    assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 1)] * 6
    log = worker.log.read_text()
    assert log.count("cannot start") == 1
    assert "received" not in log
    disk.unlink()
    until(service, lambda: ready(url).status_code == 200)
