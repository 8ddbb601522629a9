"""A child whose right to go on has ended is gone soon, however it hangs."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, update

from app.db import jobs
from app.db.tables import jobs as table
from app.domain.jobs import JobStatus
from app.domain.projects import DEFAULT_PROJECT
from app.services.jobs import attempts
from app.storage.local import LocalStore
from tests.integration.app.rows import new_job

HANGING = Path(__file__).with_name("hanging.py")
HANGS = ["gil", "fifo", "stopped", "busy"]


@pytest.fixture
def claimed(engine):
    with engine.begin() as connection:
        new_job(connection, max_attempts=3)
        return attempts.claim(connection, worker="w", lease=timedelta(minutes=5))


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "artifacts")


@pytest.fixture
def child(database_url, tmp_path, claimed):
    """Start a child; `limits` are settings of its worker."""
    started = []

    def start(kind, *, job=True, own=True, **limits):
        variables = {
            "SECATEUR_DATABASE__URL": database_url,
            "SECATEUR_DATA_DIR": str(tmp_path),
            "SECATEUR_WORKER__KILL_SECONDS": "2",
            "SECATEUR_WORKER__DRAIN_SECONDS": "600",
            "PYTHONPATH": str(Path.cwd()),
        } | {f"SECATEUR_WORKER__{name}".upper(): str(value) for name, value in limits.items()}
        told = [claimed.id if job else "", str(claimed.attempt), "own" if own else ""]
        process = subprocess.Popen(
            [sys.executable, HANGING, kind, *told],
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        below = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        if kind == "stopped":
            process.send_signal(signal.SIGSTOP)
        return process, below

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def look(engine, job_id):
    with engine.connect() as connection:
        return jobs.get(connection, DEFAULT_PROJECT, job_id)


def cancel(engine, job_id):
    with engine.begin() as connection:
        jobs.cancel(connection, job_id)


def change(engine, job_id, **values):
    with engine.begin() as connection:
        connection.execute(update(table).where(table.c.id == job_id).values(**values))


def killed(process, below, seconds=60):
    assert process.wait(seconds) == -signal.SIGKILL
    _, alive = psutil.wait_procs(below, timeout=seconds)
    # What nobody reaps stays as a zombie.
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("kind", HANGS)
def test_a_cancelled_job_ends_however_its_child_hangs(engine, claimed, child, store, kind):
    staged = store.stage(claimed.id, claimed.attempt)
    process, below = child(kind)
    cancel(engine, claimed.id)
    killed(process, below)
    assert look(engine, claimed.id).status is JobStatus.CANCELLED
    assert not staged.exists()


@pytest.mark.parametrize("kind", ["gil", "stopped"])
@pytest.mark.parametrize("own", [True, False])
def test_a_lost_job_ends_its_child_and_is_left_to_whoever_has_it(engine, claimed, child, kind, own):
    process, below = child(kind, own=own)
    with engine.begin() as connection:
        attempts.hand_back(connection, claimed, log=())
        attempts.claim(connection, worker="other", lease=timedelta(minutes=5))
    killed(process, below)
    job = look(engine, claimed.id)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 2)


@pytest.mark.parametrize("column", ["lease_expires_at", "deadline"])
def test_time_that_is_over_ends_a_child_that_does_not_hear_of_it(engine, claimed, child, column):
    process, below = child("gil")
    change(engine, claimed.id, **{column: func.now()})
    killed(process, below)


@pytest.mark.parametrize("kind", ["native", "stopped"])
def test_an_attempt_without_progress_is_taken_away(engine, claimed, child, kind):
    process, below = child(kind, stall_seconds=2)
    killed(process, below)
    deadline = time.monotonic() + 30
    while look(engine, claimed.id).status is JobStatus.RUNNING and time.monotonic() < deadline:
        time.sleep(0.05)
    job = look(engine, claimed.id)
    assert (job.status, job.attempt, job.fruitless) == (JobStatus.QUEUED, 1, 1)


def test_a_claim_that_does_not_return_ends_too(child):
    killed(*child("gil", job=False, stall_seconds=2))


def test_a_drain_is_heard_of_where_no_handler_runs(engine, claimed, child):
    process, below = child("gil", drain_seconds=1)
    process.terminate()
    killed(process, below)
    job = look(engine, claimed.id)
    assert (job.status, job.fruitless) == (JobStatus.QUEUED, 0)


def test_a_child_that_works_within_its_right_is_left_alone(engine, claimed, child):
    process, (watchdog, helper) = child("busy", stall_seconds=6, kill_seconds=1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(9)
    helper.kill()
    process.kill()
    process.wait()
    psutil.wait_procs([watchdog], timeout=30)
    assert not watchdog.is_running() or watchdog.status() == psutil.STATUS_ZOMBIE
    assert look(engine, claimed.id).status is JobStatus.RUNNING, "the lease will tell"


def test_an_idle_child_is_left_alone(child):
    process, (_, helper) = child("idle", stall_seconds=0.5, kill_seconds=0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    helper.kill()


def test_a_watchdog_that_was_killed_is_replaced_and_knows_what_goes_on(engine, claimed, child):
    process, (watchdog, helper) = child("busy")
    watchdog.kill()
    cancel(engine, claimed.id)
    killed(process, [helper])
    assert look(engine, claimed.id).status is JobStatus.CANCELLED


def test_signals_meant_for_the_child_do_not_end_the_watchdog(engine, claimed, child):
    process, below = child("busy")
    time.sleep(2)  # it is up by then
    for number in (signal.SIGTERM, signal.SIGINT):
        below[0].send_signal(number)
    cancel(engine, claimed.id)
    killed(process, below)
