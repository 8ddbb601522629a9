"""Jobs that kill the process that takes them, or eat its memory, cost nobody else anything."""

import resource
from contextlib import suppress

import psutil

ENDS = {"succeeded", "failed"}
SPARE = 256 << 20  # bytes a process may still take before it is out of memory


def test_a_job_that_aborts_its_process_ends_as_failed(world, ledger, rounds):
    """Whoever takes it dies: it is given up after some attempts, and others run meanwhile."""
    for _ in range(rounds):
        job_id = ledger.submit("deep", ends=ENDS)
        others = [ledger.submit("quick") for _ in range(3)]
        attempt = 0
        while (job := ledger.job(job_id))["status"] not in {"succeeded", "failed"}:
            if job["status"] == "running" and job["attempt"] > attempt:
                attempt = job["attempt"]
                world.sabotage(ledger.worker_of(job_id), "abort")
            world.tend(0.05)
        assert (job["status"], job["error"]["code"]) == ("failed", "worker_lost")
        assert {other["status"] for other in ledger.finish(*others)} == {"succeeded"}


def test_a_job_that_eats_memory_leaves_the_worker_of_use(world, ledger, rounds):
    for _ in range(rounds):
        # Smaller batches, which it may fall back to, are told in its README: not to be compared.
        job_id = ledger.submit("deep", ends=ENDS, metadata={"batches": "may get smaller"})
        ledger.running(job_id, "pruning")
        worker = ledger.worker_of(job_id)
        child = world.process(f"{worker} child")
        most = child.memory_info().vms + SPARE
        child.rlimit(psutil.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        world.sabotage(worker, "eat")
        [job] = ledger.finish(job_id)
        assert job["status"] == "succeeded" or job["error"]["code"] == "out_of_memory", job
        with suppress(psutil.NoSuchProcess):  # a new one has no such limit
            child.rlimit(psutil.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        [after] = ledger.finish(ledger.submit("quick"))
        assert after["status"] == "succeeded"
