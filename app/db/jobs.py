"""Job rows: every change is one conditional UPDATE guarded by status and, for workers, attempt."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, case, exists, func, insert, null, or_, select, update

from app.db.tables import artifacts, jobs
from app.domain.ids import new_id
from app.domain.jobs import (
    FailureKind,
    Job,
    JobError,
    JobStatus,
    Lease,
    NewJob,
    Phase,
    sources,
)


def _job(row: RowMapping) -> Job:
    error = None
    if row["error_code"] is not None:
        error = JobError(FailureKind(row["error_kind"]), row["error_code"], row["error_message"])
    return Job(
        id=row["id"],
        status=JobStatus(row["status"]),
        phase=Phase(row["phase"]) if row["phase"] else None,
        progress=row["progress"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        spec=row["spec"],
        error=error,
        result=row["result"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def create(connection: Connection, new: NewJob) -> Job:
    """Store a queued job."""
    values = {"id": new_id("job"), "spec": new.spec, "max_attempts": new.max_attempts}
    row = connection.execute(insert(jobs).values(values).returning(jobs)).mappings().one()
    return _job(row)


def get(connection: Connection, job_id: str) -> Job | None:
    """The job of that id, if there is one."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    return _job(row) if row else None


def page(
    connection: Connection, *, limit: int, before: str | None, status: JobStatus | None
) -> list[Job]:
    """Up to `limit` jobs, newest first, older than the id `before`."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    if status is not None:
        query = query.where(jobs.c.status == status)
    return [_job(row) for row in connection.execute(query).mappings()]


def _finish(status: JobStatus, **values: Any) -> dict[str, Any]:
    ended = {"status": status, "finished_at": func.now(), "lease_expires_at": null()}
    return ended | {"worker": null()} | values


def cancel(connection: Connection, job_id: str) -> Job | None:
    """Ask for a stop: a queued job ends at once, a running one becomes `cancelling`.

    Returns:
        The job after the change, or None where no live job has that id.
    """
    queued = jobs.c.status == JobStatus.QUEUED
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))
        .values(
            status=case((queued, JobStatus.CANCELLED), else_=JobStatus.CANCELLING),
            finished_at=case((queued, func.now()), else_=jobs.c.finished_at),
        )
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _job(row) if row else None


def claim(connection: Connection, job_id: str, *, worker: str, lease: timedelta) -> Job | None:
    """Take a queued job: one conditional UPDATE, so that of two workers only one succeeds."""
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sources(JobStatus.RUNNING)))
        .values(
            status=JobStatus.RUNNING,
            attempt=jobs.c.attempt + 1,
            worker=worker,
            phase=Phase.LOADING,
            progress=0,
            lease_expires_at=func.now() + lease,
            started_at=func.coalesce(jobs.c.started_at, func.now()),
        )
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _job(row) if row else None


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
        .values(lease_expires_at=func.now() + lease, phase=phase, progress=progress)
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
        )
        .values(**values)
        .returning(jobs.c.id)
    )
    return connection.execute(query).scalar_one_or_none() is not None


def succeed(connection: Connection, job_id: str, attempt: int, result: dict[str, Any]) -> bool:
    """End a running attempt well. False where the attempt no longer owns the job."""
    values = _finish(JobStatus.SUCCEEDED, result=result, progress=1, phase=null())
    return _end_attempt(connection, job_id, attempt, JobStatus.SUCCEEDED, **values)


def fail(
    connection: Connection,
    job_id: str,
    attempt: int,
    error: JobError,
    result: dict[str, Any] | None = None,
) -> bool:
    """End a running attempt with its error. False where the attempt no longer owns the job."""
    values = _finish(
        JobStatus.FAILED,
        result=null() if result is None else result,
        error_kind=error.kind,
        error_code=error.code,
        error_message=error.message,
    )
    return _end_attempt(connection, job_id, attempt, JobStatus.FAILED, **values)


def requeue(connection: Connection, job_id: str, attempt: int) -> bool:
    """Give a running attempt's job back to the queue."""
    values = {"status": JobStatus.QUEUED, "lease_expires_at": null(), "worker": null()}
    values |= {"phase": null(), "progress": 0}
    return _end_attempt(connection, job_id, attempt, JobStatus.QUEUED, **values)


def end_cancelled(connection: Connection, job_id: str, attempt: int) -> bool:
    """End a cancelling attempt."""
    values = _finish(JobStatus.CANCELLED)
    return _end_attempt(connection, job_id, attempt, JobStatus.CANCELLED, **values)


def expired(connection: Connection, *, limit: int) -> Sequence[Job]:
    """Jobs whose lease ran out, locked for this transaction; rows others hold are passed over."""
    query = (
        select(jobs)
        .where(jobs.c.lease_expires_at < func.now())
        .order_by(jobs.c.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_job(row) for row in connection.execute(query).mappings()]


def owners(connection: Connection, job_ids: Sequence[str]) -> set[tuple[str, int]]:
    """The (job id, attempt) pairs that may have files: attempts at work, and those with artifacts.

    A failed attempt has artifacts where its quality gate refused what the client asked to keep.
    """
    at_work = jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING])
    published = exists().where(artifacts.c.job_id == jobs.c.id)
    query = select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(job_ids), or_(at_work, published))
    return {(row.id, row.attempt) for row in connection.execute(query)}
