"""Every commit of an attempt survives a cut line and a deadlock, and happens once."""

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.db import events, jobs
from app.domain.job_result import JobResult
from app.domain.jobs import EventType, FailureKind, JobError, JobStatus, NewEvent, Phase
from app.domain.projects import DEFAULT_PROJECT
from app.services.jobs import attempts
from tests.integration.app.rows import new_job
from tests.integration.workers.runtime.unwatched import Unwatched
from workers.pipeline.context import StoppedError
from workers.runtime.attempt import Attempt

FAULT = JobError(FailureKind.SYSTEM, "storage_unavailable", "the store is away")
USERS = JobError(FailureKind.USER, "model_load_failed", "torn")
CLOSINGS = {
    "succeed": (lambda attempt: attempt.succeed(JobResult(sparsity=0.5), []), JobStatus.SUCCEEDED),
    "fail": (lambda attempt: attempt.fail(USERS), JobStatus.FAILED),
    "retry": (lambda attempt: attempt.retry(FAULT), JobStatus.QUEUED),
    "hand_back": (lambda attempt: attempt.hand_back(), JobStatus.QUEUED),
    "end_cancelled": (lambda attempt: attempt.end_cancelled(), JobStatus.CANCELLED),
}


@pytest.fixture
def claimed(engine):
    with engine.begin() as connection:
        new_job(connection, max_attempts=3)
        return attempts.claim(connection, worker="w", lease=timedelta(minutes=5))


@pytest.fixture
def attempt(cut_engine, claimed):
    asked = SimpleNamespace(asked=False)
    with Attempt(cut_engine, claimed, asked, Unwatched(), lease=300, heartbeat=1000) as attempt:
        yield attempt


def look(engine, job_id):
    with engine.connect() as connection:
        return jobs.get(connection, DEFAULT_PROJECT, job_id)


def told(engine, job_id):
    with engine.connect() as connection:
        return Counter(
            event.message for event in events.page(connection, job_id, after=0, limit=100)
        )


def cancel(engine, job_id):
    with engine.begin() as connection:
        jobs.cancel(connection, job_id)


@pytest.mark.parametrize("cuts", [["before"], ["after"], ["before", "after"]])
@pytest.mark.parametrize("name", CLOSINGS)
def test_every_end_happens_once(engine, lines, claimed, attempt, name, cuts):
    close, status = CLOSINGS[name]
    if name == "end_cancelled":
        cancel(engine, claimed.id)
    attempt.event(NewEvent(EventType.LOG, "the last word"))
    lines.cuts = list(cuts)
    assert close(attempt) in {True, None}
    job = look(engine, claimed.id)
    assert (job.status, job.attempt) == (status, 1)
    assert told(engine, claimed.id)["the last word"] == 1
    with engine.connect() as connection:
        waiting = connection.execute(text("SELECT count(*) FROM outbox")).scalar_one()
    assert waiting == (status is JobStatus.QUEUED)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_heartbeats_tell_everything_once(engine, lines, claimed, attempt, cut):
    for number in range(3):
        lines.cuts = [cut]
        attempt.event(NewEvent(EventType.LOG, f"word {number}"))
        attempt.phase(Phase.PRUNING)
    found = told(engine, claimed.id)
    assert {found[f"word {number}"] for number in range(3)} == {1}
    assert found["pruning"] == 3


@pytest.mark.parametrize("cut", ["before", "after"])
def test_what_is_kept_is_told(engine, lines, claimed, attempt, cut):
    assert look(engine, claimed.id).fruitless == 1
    lines.cuts = [cut]
    attempt.kept()
    assert look(engine, claimed.id).fruitless == 0


def test_an_end_waits_for_a_lock_and_a_server_that_ends_its_connections(
    engine, claimed, attempt, cut_engine
):
    attempt.phase(Phase.PRUNING)  # opens a connection
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert attempt.succeed(JobResult(), [])
    assert look(engine, claimed.id).status is JobStatus.SUCCEEDED


def test_a_lost_attempt_writes_nothing(engine, lines, claimed, attempt):
    with engine.begin() as connection:
        attempts.hand_back(connection, claimed, log=())
        attempts.claim(connection, worker="other", lease=timedelta(minutes=5))
    lines.cuts = ["after"]
    assert not attempt.succeed(JobResult(), [])
    with pytest.raises(StoppedError):
        attempt.phase(Phase.PUBLISHING)
    job = look(engine, claimed.id)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 2)


def test_a_wait_ends_with_the_cancel(engine, claimed, attempt):
    cancel(engine, claimed.id)
    attempt.wait(0.01)
    with pytest.raises(StoppedError):
        attempt.phase(Phase.PRUNING)  # hears of it
    with pytest.raises(StoppedError):
        attempt.wait(3600)
