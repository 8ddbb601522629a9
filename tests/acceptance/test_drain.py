"""A worker is asked to end: its job goes back at once, and costs no attempt."""

from contextlib import suppress

import psutil
import pytest

from tests.acceptance.test_kills import SLOW, TINY, process, pruning


def gone(worker, seconds):
    try:
        worker.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True


def importing_torch(service, ended):
    """The worker after that one, once a child of it imports torch."""
    while True:
        service.running.tend(0.01)
        with suppress(psutil.NoSuchProcess):
            worker = process(service, "worker")
            if worker.pid != ended.pid and any(map(maps_torch, worker.children())):
                return worker


def maps_torch(child):
    try:
        return any("libtorch" in each.path for each in child.memory_maps())
    except psutil.NoSuchProcess:  # a tool that some import asked has ended already
        return False


# Docker's SIGTERM reaches the first process alone, systemd's all of them.
@pytest.mark.parametrize("reaches", ["parent", "all"])
def test_a_job_goes_back_when_its_worker_is_asked_to_end(service, reaches):
    job_id = service.submit(**SLOW)
    service.wait(job_id, pruning)
    worker = process(service, "worker")
    children = worker.children() if reaches == "all" else []
    for each in [worker, *children]:
        each.terminate()
    assert gone(worker, 30)
    service.wait(job_id, lambda job: job["attempt"] == 2)
    first, second = service.workers(job_id)
    listed = service.http.get("/v1/workers").json()["processes"]
    assert [each["job_id"] for each in listed if each["name"] in {first, second}] == [job_id]
    messages = service.messages(job_id)
    assert any("asked to end" in message for message in messages)
    assert not any("stopped responding" in message for message in messages)
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    service.finish(job_id)


def test_a_worker_that_still_imports_torch_ends_at_once(service):
    assert service.finish(service.submit(**TINY))["status"] == "succeeded"
    worker = process(service, "worker")
    worker.kill()
    fresh = importing_torch(service, worker)
    fresh.terminate()
    assert gone(fresh, 30)
    assert service.finish(service.submit(**TINY))["status"] == "succeeded"
