"""Processes are killed in mid-job; nothing is lost and nothing runs twice."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

SLOW = {
    "model": "minilm",
    "method": "wanda",
    "sparsity": 0.5,
    "calibration": {"samples": 320, "batch_size": 16},
}
TINY = {"model": "bert", "method": "magnitude", "sparsity": 0.5}


def process(service, name):
    run = service.running.settings.data_dir / "run" / name
    return psutil.Process(int(run.read_text().split()[0]))


def pruning(job):
    return job["phase"] == "pruning" and job["status"] == "running"


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_a_job_survives_the_sigkill_of_its_worker(service, victim):
    job_id = service.submit(**SLOW)
    service.wait(job_id, pruning)
    worker = process(service, "worker")
    killed = worker.children()[0] if victim == "child" else worker
    os.kill(killed.pid, signal.SIGKILL)
    job = service.finish(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    messages = service.messages(job_id)
    assert Counter(messages)["succeeded"] == 1
    assert any("stopped responding" in message for message in messages)
    published = service.running.settings.storage.dir / "published"
    assert [path.name for path in published.glob(f"{job_id}-*")] == [f"{job_id}-2"]


def test_queued_jobs_survive_a_broker_that_restarts_empty(service):
    blocker = service.submit(**SLOW)
    service.wait(blocker, pruning)
    waiting = [service.submit(**TINY) for _ in range(3)]
    time.sleep(1.5)  # the relay has sent them by now
    os.kill(process(service, "valkey").pid, signal.SIGKILL)
    jobs = [service.finish(job_id) for job_id in [blocker, *waiting]]
    assert [job["status"] for job in jobs] == ["succeeded"] * 4
    assert [job["attempt"] for job in jobs] == [1] * 4


def test_a_running_job_is_cancelled_and_its_process_stays_warm(service):
    job_id = service.submit(**SLOW)
    service.wait(job_id, pruning)
    child = process(service, "worker").children()[0].pid
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    job = service.finish(job_id, seconds=20)
    assert job["status"] == "cancelled"
    assert service.artifacts(job_id) == []
    assert service.finish(service.submit(**TINY))["status"] == "succeeded"
    assert process(service, "worker").children()[0].pid == child
    left = service.running.settings.storage.dir.glob(f"*/{job_id}-*")
    assert list(left) == []


def test_a_process_is_kept_after_a_success_and_after_a_users_failure(service):
    # Whether an embedding is there is seen when the model is loaded.
    refused = TINY | {"ignore": ["no.such.embed"]}
    jobs = [service.finish(service.submit(**job)) for job in (TINY, TINY, refused, TINY)]
    assert [job["status"] for job in jobs] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert len({service.workers(job["id"])[0] for job in jobs}) == 1
    log = (service.running.settings.data_dir / "logs" / "worker.log").read_text()
    told = [line for line in log.splitlines() if jobs[2]["id"] in line and "ends:" in line]
    assert len(told) == 1
    assert "exception" not in told[0]


@pytest.mark.timeout(900)  # a minute, and many more where others want the processor
def test_two_hundred_jobs_from_eight_clients(service):
    def client(_):
        return [service.submit(**TINY) for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        job_ids = [job_id for ids in pool.map(client, range(8)) for job_id in ids]
    jobs = [service.finish(job_id, seconds=600) for job_id in job_ids]
    assert len(set(job_ids)) == 200
    assert Counter(job["status"] for job in jobs) == {"succeeded": 200}
    assert Counter(job["attempt"] for job in jobs) == {1: 200}
    served = Counter(worker for job_id in job_ids for worker in service.workers(job_id))
    limit = service.running.settings.worker.max_jobs_per_child
    assert max(served.values()) <= limit
    assert len(served) <= 200 // limit + 2, "a process stays warm from job to job"
