"""Leases: what an attempt may do with its job, and how attempts end.

Every change is one conditional UPDATE guarded by the job's status and the attempt's number, so an
attempt that lost its lease changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    extract,
    func,
    null,
    or_,
    select,
    update,
)

from app.db import quarantine
from app.db.jobs import NEXT_VERSION, to_job
from app.db.tables import jobs
from app.domain.job_result import JobResult
from app.domain.jobs import (
    Job,
    JobError,
    JobStatus,
    Lease,
    Phase,
    sources,
)
from app.domain.quarantine import Loop
from app.telemetry.redaction import scrub

# Up to this progress an attempt has fetched and loaded only.
PACE_KNOWN = 0.1


def state(connection: Connection, job_id: str, attempt: int) -> Lease:
    """Whether the attempt may go on: not where its lease or the job's time is over."""
    in_time = or_(jobs.c.deadline.is_(None), jobs.c.deadline > func.now())
    query = select(jobs.c.status).where(
        jobs.c.id == job_id,
        jobs.c.attempt == attempt,
        jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]),
        jobs.c.lease_expires_at > func.now(),
        in_time,
    )
    status = connection.execute(query).scalar_one_or_none()
    if status is None:
        return Lease.LOST
    return Lease.HELD if status == JobStatus.RUNNING else Lease.CANCEL_REQUESTED


def _finish(status: JobStatus, **values: Any) -> dict[str, Any]:
    ended = {"status": status, "finished_at": func.now(), "lease_expires_at": null()}
    return ended | {"worker": null(), "deadline": null(), "eta": null()} | values


def claim(connection: Connection, job_id: str, *, worker: str, lease: timedelta) -> Job | None:
    """Take a queued job: one conditional UPDATE, so that of two workers only one succeeds."""
    run_time = func.make_interval(0, 0, 0, 0, 0, 0, jobs.c.max_runtime)
    first = jobs.c.started_at.is_(None)
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sources(JobStatus.RUNNING)))
        .values(
            status=JobStatus.RUNNING,
            attempt=jobs.c.attempt + 1,
            fruitless=jobs.c.fruitless + 1,
            worker=worker,
            phase=Phase.LOADING,
            progress=0,
            lease_expires_at=func.now() + lease,
            started_at=func.coalesce(jobs.c.started_at, func.now()),
            attempt_started_at=func.now(),
            deadline=case((first, func.now() + run_time), else_=jobs.c.deadline),
            **NEXT_VERSION,
        )
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return to_job(row) if row else None


def _eta(progress: float) -> ColumnElement[datetime] | None:
    """When the attempt ends if it goes on at its pace; loading says nothing about that pace."""
    if progress <= PACE_KNOWN:
        return None
    elapsed = func.now() - jobs.c.attempt_started_at
    left = extract("epoch", elapsed) * ((1 - progress) / progress)
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, left)


def heartbeat(
    connection: Connection,
    job_id: str,
    attempt: int,
    *,
    lease: timedelta,
    phase: Phase,
    progress: float,
) -> Lease:
    """Extend the lease of a live attempt, store its progress, and tell whether to go on."""
    query = (
        update(jobs)
        .where(
            jobs.c.id == job_id,
            jobs.c.attempt == attempt,
            jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]),
        )
        .values(
            lease_expires_at=func.now() + lease,
            phase=phase,
            progress=progress,
            eta=case((jobs.c.progress == progress, jobs.c.eta), else_=_eta(progress)),
        )
        .returning(jobs.c.status)
    )
    status = connection.execute(query).scalar_one_or_none()
    if status is None:
        return Lease.LOST
    return Lease.HELD if status == JobStatus.RUNNING else Lease.CANCEL_REQUESTED


def _end_attempt(
    connection: Connection, job_id: str, attempt: int, target: JobStatus, **values: Any
) -> bool:
    query = (
        update(jobs)
        .where(
            jobs.c.id == job_id,
            jobs.c.attempt == attempt,
            jobs.c.status.in_(sources(target)),
            # A job that was given back keeps its number until it is claimed again.
            jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]),
        )
        .values(**values, **NEXT_VERSION)
        .returning(jobs.c.id)
    )
    return connection.execute(query).scalar_one_or_none() is not None


def succeed(connection: Connection, job_id: str, attempt: int, result: JobResult) -> bool:
    """End a running attempt well. False where the attempt no longer owns the job."""
    values = _finish(JobStatus.SUCCEEDED, result=result.to_json(), progress=1, phase=null())
    return _end_attempt(connection, job_id, attempt, JobStatus.SUCCEEDED, **values)


def _failed(error: JobError, result: JobResult | None = None) -> dict[str, Any]:
    return _finish(
        JobStatus.FAILED,
        result=null() if result is None else result.to_json(),
        error_kind=error.kind,
        error_code=error.code,
        error_message=scrub(error.message),
    )


def fail(
    connection: Connection,
    job_id: str,
    attempt: int,
    error: JobError,
    result: JobResult | None = None,
) -> bool:
    """End a running attempt with its error. False where the attempt no longer owns the job."""
    values = _failed(error, result)
    return _end_attempt(connection, job_id, attempt, JobStatus.FAILED, **values)


def requeue(connection: Connection, job_id: str, attempt: int) -> bool:
    """Give a running attempt's job back to the queue."""
    return _end_attempt(connection, job_id, attempt, JobStatus.QUEUED, **_QUEUED_AGAIN)


def hand_back(connection: Connection, job_id: str, attempt: int) -> bool:
    """Give a running attempt's job back to the queue without counting the attempt."""
    values = _QUEUED_AGAIN | {"fruitless": func.greatest(jobs.c.fruitless - 1, 0)}
    return _end_attempt(connection, job_id, attempt, JobStatus.QUEUED, **values)


_QUEUED_AGAIN: dict[str, Any] = {
    "status": JobStatus.QUEUED,
    "lease_expires_at": null(),
    "worker": null(),
    "phase": null(),
    "progress": 0,
    "eta": null(),
}


def end_cancelled(connection: Connection, job_id: str, attempt: int) -> bool:
    """End a cancelling attempt."""
    values = _finish(JobStatus.CANCELLED)
    return _end_attempt(connection, job_id, attempt, JobStatus.CANCELLED, **values)


def fail_overdue(connection: Connection, job_id: str, error: JobError) -> Job | None:
    """End a queued or running job from outside; its worker, if any, finds its lease lost."""
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sources(JobStatus.FAILED)))
        .values(**_failed(error), **NEXT_VERSION)
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return to_job(row) if row else None


def _one(connection: Connection, job_id: str, still: ColumnElement[bool]) -> Job | None:
    """A job, locked, if that still holds and nobody else holds its row."""
    query = select(jobs).where(jobs.c.id == job_id, still).with_for_update(skip_locked=True)
    row = connection.execute(query).mappings().one_or_none()
    return to_job(row) if row else None


_OVERDUE = jobs.c.deadline < func.now()


_EXPIRED = jobs.c.lease_expires_at < func.now()


def all_overdue(connection: Connection, *, limit: int) -> Sequence[str]:
    """Ids of jobs past their deadline, the longest first."""
    query = select(jobs.c.id).where(_OVERDUE, ~quarantine.waits(Loop.OVERDUE, jobs.c.id))
    return connection.execute(query.order_by(jobs.c.deadline).limit(limit)).scalars().all()


def overdue(connection: Connection, job_id: str) -> Job | None:
    """The job, locked, if it is past its deadline; None where another process holds its row."""
    return _one(connection, job_id, _OVERDUE)


def all_expired(connection: Connection, *, limit: int) -> Sequence[str]:
    """Ids of jobs whose lease ran out, the longest first."""
    query = select(jobs.c.id).where(_EXPIRED, ~quarantine.waits(Loop.REAP, jobs.c.id))
    return connection.execute(query.order_by(jobs.c.lease_expires_at).limit(limit)).scalars().all()


def expired(connection: Connection, job_id: str) -> Job | None:
    """The job, locked, if its lease ran out; None where another process holds its row."""
    return _one(connection, job_id, _EXPIRED)


def note_progress(connection: Connection, job_id: str, attempt: int) -> None:
    """Note that the next attempt will start further on than this one did."""
    query = update(jobs).where(jobs.c.id == job_id, jobs.c.attempt == attempt)
    connection.execute(query.values(fruitless=0))


def attempts_without_progress(connection: Connection, job_id: str) -> int:
    """Attempts in a row, up to the present one, that kept nothing."""
    query = select(jobs.c.fruitless).where(jobs.c.id == job_id)
    return int(connection.execute(query).scalar_one())
