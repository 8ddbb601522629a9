"""SIGSTOP to every process, for longer than a lease, then SIGCONT: it goes on where it was."""

from tests.chaos.world import LEASE


def test_a_worker_that_slept_through_its_lease_changes_nothing(world, ledger, draw, rounds):
    for _ in range(rounds):
        job_id = ledger.submit("deep")
        attempt = ledger.running(job_id)["attempt"]
        world.tend(draw.uniform(0, 1))
        with world.stopped(f"{ledger.worker_of(job_id)} child"):
            ledger.taken_over(job_id, attempt)
            ledger.submit("quick")


def test_a_service_that_pauses_loses_nothing(world, ledger, draw, turns):
    for victim in turns(("worker-1", "api", "maintenance", "valkey"), each=2):
        ledger.submit("pair")
        with world.stopped(victim):
            world.tend(draw.uniform(0.5, 1.5) * LEASE)
        ledger.submit("quick")
