"""How attempts begin and end: what is queued, logged, published and counted along with the row."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from app.db import artifacts, events, jobs, leases, outbox, projects
from app.db.tables import outbox as messages
from app.db.tables import quarantine
from app.domain.job_result import JobResult
from app.domain.jobs import (
    Artifact,
    EventLevel,
    EventType,
    FailureKind,
    JobError,
    JobStatus,
    Lease,
    NewEvent,
    Phase,
)
from app.domain.projects import Limits
from app.services.jobs import attempts
from tests.integration.app.rows import new_job

DEFAULT, LEASE = "prj_default", timedelta(seconds=30)
ERROR = JobError(FailureKind.SYSTEM, "storage_failed", "disk gone")
LOG = [NewEvent(EventType.LOG, "the last line")]


@pytest.fixture
def claim(connection):
    """Makes a job and claims it."""

    def make(attempts_before=0, **values):
        job_id = new_job(connection, **{"max_attempts": 9} | values).id
        for _ in range(attempts_before):
            leases.claim(connection, job_id, worker="w", lease=LEASE)
            leases.requeue(
                connection, job_id, attempts_before and jobs.find(connection, job_id).attempt
            )
        outbox.remove(connection, job_id)
        return leases.claim(connection, job_id, worker="w", lease=LEASE)

    return make


def take(connection):
    return attempts.claim(connection, worker="w", lease=LEASE)


def waiting(connection):
    """Jobs that wait, and when each is due."""
    query = select(messages.c.job_id, messages.c.due_at)
    return {row.job_id: row.due_at for row in connection.execute(query)}


def last(connection, job):
    return events.page(connection, job.id, after=0, limit=99)[-1]


def texts(connection, job):
    return [event.message for event in events.page(connection, job.id, after=0, limit=99)]


def files(job, *sizes):
    return [Artifact(job.id, job.attempt, f"{n}", size, "0", "t") for n, size in enumerate(sizes)]


def test_a_claim_takes_the_message_away_and_is_logged(connection, rows):
    job_id, other = rows.job(), rows.job()
    job = take(connection)
    assert job.id == job_id
    assert set(waiting(connection)) == {other}
    assert last(connection, job).data == {"status": "running", "attempt": 1, "worker": "w"}
    take(connection)
    assert take(connection) is None


def test_a_message_of_a_job_that_waits_no_more_is_taken_away(connection, rows):
    job_id = rows.job(status=JobStatus.CANCELLED)
    assert take(connection) is None
    assert waiting(connection) == {}
    assert len(texts(connection, rows.get(job_id))) == 1


def test_a_job_that_cannot_be_claimed_keeps_no_other_waiting(connection, rows, monkeypatch):
    broken, next_one = rows.job(), rows.job()
    real = leases.claim

    def fail(connection, job_id, **options):
        if job_id == broken:
            raise ValueError("odd row")
        return real(connection, job_id, **options)

    monkeypatch.setattr(leases, "claim", fail)
    assert take(connection).id == next_one
    aside = connection.execute(select(quarantine.c.loop, quarantine.c.item)).all()
    assert [tuple(row) for row in aside] == [("claim", broken)]
    assert set(waiting(connection)) == {broken}


def test_a_database_that_is_away_is_nobodys_fault(connection, rows, monkeypatch):
    rows.job()

    def fail(*_, **__):
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(leases, "claim", fail)
    with pytest.raises(OperationalError):
        take(connection)
    assert connection.execute(select(func.count()).select_from(quarantine)).scalar_one() == 0


def test_a_project_runs_as_many_jobs_as_it_may(connection, rows):
    projects.set_limits(connection, DEFAULT, Limits(running_jobs=1))
    rows.job()
    second, theirs = rows.job(), rows.job(project=rows.project("other"))
    assert take(connection)
    assert take(connection).id == theirs
    assert take(connection) is None
    assert second in waiting(connection)


def test_the_last_place_goes_to_one_worker(connection, rows, monkeypatch):
    """Another worker takes it between the look and the lock."""
    projects.set_limits(connection, DEFAULT, Limits(running_jobs=1))
    rows.job()
    locked = []

    def another_was_first(connection, project_id):
        locked.append(project_id)
        rows.job(status=JobStatus.RUNNING, lease_expires_at=func.now() + LEASE)

    monkeypatch.setattr(projects, "lock", another_was_first)
    assert take(connection) is None
    assert locked == [DEFAULT]
    assert len(waiting(connection)) == 2, "nothing was taken away"


def test_a_heartbeat_logs_for_who_holds_the_job(connection, claim):
    job = claim()
    beat = {"lease": LEASE, "phase": Phase.PRUNING, "progress": 0.5, "log": LOG}
    assert attempts.heartbeat(connection, job, **beat) is Lease.HELD
    assert texts(connection, job)[-1] == "the last line"
    jobs.cancel(connection, job.id)
    assert attempts.heartbeat(connection, job, **beat) is Lease.CANCEL_REQUESTED
    assert texts(connection, job).count("the last line") == 2
    leases.end_cancelled(connection, job.id, 1)
    assert attempts.heartbeat(connection, job, **beat) is Lease.LOST
    assert texts(connection, job).count("the last line") == 2


def test_a_success_publishes_logs_and_counts(connection, claim):
    job = claim()
    told = {"result": JobResult(sparsity=0.5), "files": files(job, 30, 12), "log": LOG}
    assert attempts.succeed(connection, job, **told)
    assert projects.get(connection, DEFAULT).artifact_bytes == 42
    assert len(artifacts.of_job(connection, job.id)) == 2
    assert texts(connection, job)[-2:] == ["the last line", "succeeded"]
    assert last(connection, job).level is EventLevel.INFO
    assert not attempts.succeed(connection, job, **told)
    assert projects.get(connection, DEFAULT).artifact_bytes == 42


def test_a_failure_logs_why_and_may_publish(connection, claim):
    job = claim()
    told = {"log": LOG, "result": JobResult(drop=2), "files": files(job, 5)}
    assert attempts.fail(connection, job, ERROR, **told)
    assert jobs.find(connection, job.id).result == JobResult(drop=2)
    assert projects.get(connection, DEFAULT).artifact_bytes == 5
    event = last(connection, job)
    assert (event.message, event.level) == ("failed: disk gone", EventLevel.ERROR)
    assert event.data == {"status": "failed", "code": "storage_failed", "kind": "system_error"}
    assert texts(connection, job)[-2] == "the last line"
    assert not attempts.fail(connection, job, ERROR, **told)
    assert projects.get(connection, DEFAULT).artifact_bytes == 5


@pytest.mark.parametrize("how", ["fail", "retry", "hand_back", "end_cancelled", "reap"])
def test_whatever_ends_an_attempt_that_was_to_cancel_cancels_it(connection, rows, claim, how):
    job = claim()
    jobs.cancel(connection, job.id)
    if how == "reap":
        rows.set(job.id, lease_expires_at=func.now() - LEASE)
        assert attempts.reap(connection, job.id)
    else:
        error = (ERROR,) if how in {"fail", "retry"} else ()
        getattr(attempts, how)(connection, job, *error, log=LOG)
        assert texts(connection, job)[-2] == "the last line"
    assert jobs.find(connection, job.id).status is JobStatus.CANCELLED
    assert last(connection, job).message == "cancelled"
    assert waiting(connection) == {}


@pytest.mark.parametrize(("before", "seconds"), [(0, 2), (1, 4), (2, 8), (5, 64)])
def test_a_passing_fault_is_retried_after_longer_and_longer(
    connection, rows, claim, before, seconds
):
    job = claim(before)
    attempts.retry(connection, job, ERROR, log=LOG)
    assert waiting(connection) == {job.id: rows.now + timedelta(seconds=seconds)}
    event = last(connection, job)
    assert (event.message, event.level) == ("queued again: disk gone", EventLevel.WARNING)
    assert event.data == {"status": "queued", "code": "storage_failed"}


def test_a_fault_after_progress_is_retried_as_the_first(connection, rows, claim):
    job = claim(3)
    attempts.note_progress(connection, job)
    attempts.retry(connection, job, ERROR, log=())
    assert waiting(connection) == {job.id: rows.now + timedelta(seconds=2)}


@pytest.mark.parametrize(("most", "status"), [(3, JobStatus.FAILED), (4, JobStatus.QUEUED)])
def test_attempts_are_used_up(connection, rows, claim, most, status):
    longer = attempts.OUTAGE_ATTEMPTS
    job, lost = claim(2 + longer, max_attempts=most), claim(2, max_attempts=most)
    attempts.retry(connection, job, ERROR, log=())
    assert jobs.find(connection, job.id).status is status
    rows.set(lost.id, lease_expires_at=func.now() - LEASE)
    assert attempts.reap(connection, lost.id)
    after = jobs.find(connection, lost.id)
    assert after.status is status
    event = last(connection, lost)
    assert event.data["code"] == "worker_lost"
    assert "the worker of attempt 3 stopped responding" in event.message
    if status is JobStatus.QUEUED:
        assert waiting(connection)[lost.id] == rows.now
    else:
        assert after.error.kind is FailureKind.SYSTEM


def test_a_job_that_is_handed_back_waits_at_once(connection, rows, claim):
    job = claim()
    attempts.hand_back(connection, job, log=LOG)
    assert waiting(connection) == {job.id: rows.now}
    event = last(connection, job)
    assert event.message == "queued again: its worker was asked to end"
    assert (event.level, event.data) == (EventLevel.INFO, {"status": "queued"})


def test_nothing_is_reaped_or_overdue_before_its_time(connection, claim):
    job = claim(max_runtime_seconds=60)
    assert not attempts.reap(connection, job.id)
    assert not attempts.end_overdue(connection, job.id)
    assert jobs.find(connection, job.id).status is JobStatus.RUNNING


def test_a_job_that_takes_too_long_fails(connection, rows, claim):
    job = claim(max_runtime_seconds=60)
    rows.set(job.id, deadline=func.now() - LEASE)
    assert attempts.end_overdue(connection, job.id)
    error = jobs.find(connection, job.id).error
    assert (error.kind, error.code) == (FailureKind.USER, "max_runtime_exceeded")
    assert error.message == "the job did not end within 60 s of its first start"
    assert last(connection, job).data["code"] == "max_runtime_exceeded"


def test_a_job_that_waits_too_long_fails(connection, rows):
    job = new_job(connection, max_attempts=1, max_pending_seconds=60)
    rows.set(job.id, deadline=func.now() - LEASE)
    assert attempts.end_overdue(connection, job.id)
    error = jobs.find(connection, job.id).error
    assert (error.kind, error.code) == (FailureKind.SYSTEM, "max_pending_exceeded")
    assert error.message == "the job did not start within 60 s"
    assert waiting(connection) == {}


@pytest.mark.parametrize(("running", "again"), [(1, False), (2, True), (3, False)])
def test_where_a_project_was_at_its_limit_its_next_job_is_told_again(
    connection, rows, claim, running, again
):
    job = claim()
    for _ in range(running - 1):
        claim()
    projects.set_limits(connection, DEFAULT, Limits(running_jobs=2))
    rows.job()
    connection.execute(update(messages).values(sent_at=func.now()))
    attempts.succeed(connection, job, result=JobResult(), files=(), log=())
    sent = connection.execute(select(messages.c.sent_at)).scalars().all()
    assert (None in sent) is again
