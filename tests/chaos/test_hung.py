"""A job hangs; once it has no right to its worker any more, the worker soon takes the next."""

import time

import pytest

from tests.chaos.saboteur.sitecustomize import DEEDS

pytestmark = pytest.mark.usefixtures("long")

HANGS = ["wait", "hold", "spin"]
assert set(HANGS) < set(DEEDS)


def claims(ledger, worker):
    """Claims of all jobs by processes of the worker, as (job, attempt)."""
    pids = {each.pid for each in ledger.world.family(worker)}
    found = set()
    for sent in ledger.sent:
        for event in ledger.world.root.get(f"/v1/jobs/{sent.id}/events", limit=1000)["events"]:
            pid = event["data"].get("worker", "").rpartition(":")[2]
            if event["message"] == "running" and pid and int(pid) in pids:
                found.add((sent.id, event["attempt"]))
    return found


def next_claim(ledger, worker, tally):
    """Measure how long the worker takes to its next claim, while there is always something."""
    started, before = time.monotonic(), claims(ledger, worker)
    while not claims(ledger, worker) - before:
        assert time.monotonic() - started < 120, f"{worker} has claimed nothing for two minutes"
        ledger.submit("quick")
        ledger.world.tend(0.5)
    tally.worst("hung_to_next_claim_s", time.monotonic() - started)


def hang(world, ledger, how, phase, **job):
    """A job whose worker hangs in that phase, and the worker."""
    job_id = ledger.submit("deep", ends={"succeeded", "cancelled", "failed"}, **job)
    ledger.running(job_id, phase)
    worker = ledger.worker_of(job_id)
    world.sabotage(worker, how)
    return job_id, worker


def test_a_cancelled_job_that_hangs_frees_its_worker(world, ledger, tally, draw, turns):
    for how in turns(HANGS):
        job_id, worker = hang(world, ledger, how, draw.choice((None, "pruning")))
        world.root.ask("POST", f"/v1/jobs/{job_id}/cancel")
        next_claim(ledger, worker, tally)
        [job] = ledger.finish(job_id)
        assert job["status"] == "cancelled"


def test_a_job_over_its_time_that_hangs_frees_its_worker(world, ledger, tally, turns):
    for how in turns(HANGS):
        job_id, worker = hang(world, ledger, how, "pruning", max_runtime_seconds=10)
        [job] = ledger.finish(job_id)
        if job["status"] == "succeeded":  # no heartbeat came, and another worker was in time
            assert (how, job["attempt"] > 1) == ("hold", True)
        else:
            assert (job["status"], job["error"]["code"]) == ("failed", "max_runtime_exceeded")
        next_claim(ledger, worker, tally)


def test_a_hung_job_that_lost_its_lease_frees_its_worker(world, ledger, tally, turns):
    """No heartbeat comes any more: another worker goes on, and this one is soon of use again."""
    for how in turns(("hold", "stop")):
        job_id = ledger.submit("deep")
        attempt = ledger.running(job_id, "pruning")["attempt"]
        worker = ledger.worker_of(job_id)
        if how == "stop":
            world.process(f"{worker} child").suspend()
        else:
            world.sabotage(worker, how)
        ledger.taken_over(job_id, attempt)
        next_claim(ledger, worker, tally)
