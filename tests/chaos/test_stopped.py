"""SIGSTOP to every process, for longer than a lease, then SIGCONT: it goes on where it was."""

import time

import pytest

from tests.chaos.world import LEASE

ANSWER_SECONDS = 18.0  # while the database hangs, an answer or a refusal is there by then


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


@pytest.mark.usefixtures("long")
def test_a_database_that_hangs_is_told_to_clients_in_time(world, ledger, draw, rounds):
    for _ in range(rounds):
        job_id = ledger.submit("deep")
        ledger.running(job_id)
        world.tend(draw.uniform(0, 1))
        with world.stopped("postgres"):
            started = time.monotonic()
            answer = world.root.http.get(f"/v1/jobs/{job_id}", timeout=ANSWER_SECONDS)
            assert answer.status_code == 503, answer.text
            assert time.monotonic() - started < ANSWER_SECONDS
