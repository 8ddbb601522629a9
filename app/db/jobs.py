"""Job rows: every change is one conditional UPDATE guarded by status and, for workers, attempt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    case,
    exists,
    extract,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy import delete as sql_delete

from app.db import events, labels, quarantine
from app.db.tables import artifacts, jobs
from app.domain.jobs import (
    FailureKind,
    Job,
    JobError,
    JobFilter,
    JobStatus,
    Lease,
    Phase,
    sources,
)
from app.domain.quarantine import Loop
from app.ids import id_at
from app.telemetry.redaction import scrub

# Ids carry the time by the clock of an API process, `created_at` that by the database's; they are
# taken to differ by less.
CLOCKS = timedelta(minutes=10)
# Up to this progress an attempt has fetched and loaded only.
PACE_KNOWN = 0.1


def to_job(row: RowMapping) -> Job:
    """A job from its row."""
    error = None
    if row["error_code"] is not None:
        error = JobError(FailureKind(row["error_kind"]), row["error_code"], row["error_message"])
    plain = {name: row[name] for name in _PLAIN}
    phase = Phase(row["phase"]) if row["phase"] else None
    return Job(status=JobStatus(row["status"]), phase=phase, error=error, **plain)


_PLAIN = {field.name for field in fields(Job)} - {"status", "phase", "error"}


_GET = select(jobs).where(
    jobs.c.id == bindparam("job_id"), jobs.c.project_id == bindparam("project_id")
)
_LOCK = _GET.with_for_update()


def get(connection: Connection, project_id: str, job_id: str, *, lock: bool = False) -> Job | None:
    """The project's job of that id, if there is one; locked until the transaction ends if asked."""
    told = {"project_id": project_id, "job_id": job_id}
    row = connection.execute(_LOCK if lock else _GET, told).mappings().one_or_none()
    return to_job(row) if row else None


def find(connection: Connection, job_id: str) -> Job | None:
    """The job of that id, whosever it is; for the service's own processes."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    return to_job(row) if row else None


def page(
    connection: Connection, project_id: str, *, limit: int, cursor: str | None, only: JobFilter
) -> list[Job]:
    """Up to `limit` jobs by creation, newest first unless asked otherwise, after `cursor`."""
    column = jobs.c
    query = select(jobs).where(column.project_id == project_id).limit(limit)
    query = query.order_by(column.id if only.oldest_first else column.id.desc())
    if cursor is not None:
        query = query.where(column.id > cursor if only.oldest_first else column.id < cursor)
    if only.status is not None:
        query = query.where(column.status == only.status)
    if only.method is not None:
        query = query.where(column.method == only.method)
    if only.model is not None:
        query = query.where(column.model == only.model)
    for label in only.labels.items():
        query = labels.having(query, project_id, *label)
    if only.sweep is not None:
        query = query.where(column.sweep_id == only.sweep)
    if only.created_after is not None:
        query = query.where(column.created_at >= only.created_after)
        query = query.where(column.id >= id_at("job", only.created_after, -CLOCKS))
    if only.created_before is not None:
        query = query.where(column.created_at < only.created_before)
        query = query.where(column.id < id_at("job", only.created_before, CLOCKS))
    return [to_job(row) for row in connection.execute(query).mappings()]


def median_seconds(
    connection: Connection, project_id: str, model: str, method: str
) -> float | None:
    """Median run time of the project's last hundred successes with this model and method."""
    seconds = jobs.c.result["seconds"].as_float()
    last = (
        select(seconds.label("seconds"))
        .where(
            jobs.c.project_id == project_id,
            jobs.c.status == JobStatus.SUCCEEDED,
            jobs.c.model == model,
            jobs.c.method == method,
        )
        .order_by(jobs.c.id.desc())
        .limit(100)
        .subquery()
    )
    query = select(func.percentile_cont(0.5).within_group(last.c.seconds))
    found = connection.execute(query).scalar_one()
    return None if found is None else float(found)


def change(connection: Connection, job_id: str, **values: Any) -> Job:
    """Set what clients may set: labels, metadata, priority."""
    query = update(jobs).where(jobs.c.id == job_id).values(**values, **_NEXT_VERSION)
    job = to_job(connection.execute(query.returning(jobs)).mappings().one())
    if "labels" in values:
        labels.replace(connection, job)
    return job


def delete(connection: Connection, job_ids: Sequence[str]) -> None:
    """Remove jobs with their events and artifact rows."""
    events.forget(connection, job_ids)
    connection.execute(sql_delete(jobs).where(jobs.c.id.in_(job_ids)))


def of_sweeps(connection: Connection, sweep_ids: Sequence[str]) -> dict[str, Counter[JobStatus]]:
    """How many members of each sweep have which status."""
    query = (
        select(jobs.c.sweep_id, jobs.c.status, func.count())
        .where(jobs.c.sweep_id.in_(sweep_ids))
        .group_by(jobs.c.sweep_id, jobs.c.status)
    )
    found = {sweep_id: Counter[JobStatus]() for sweep_id in sweep_ids}
    for sweep_id, status, count in connection.execute(query):
        found[sweep_id][JobStatus(status)] = count
    return found


def members(connection: Connection, sweep_id: str, *, lock: bool = False) -> list[Job]:
    """The jobs of a sweep, in the order of their making; locked if asked."""
    query = select(jobs).where(jobs.c.sweep_id == sweep_id).order_by(jobs.c.id)
    query = query.with_for_update() if lock else query
    return [to_job(row) for row in connection.execute(query).mappings()]


def files_expired(connection: Connection, job_id: str) -> None:
    """Note that the job's files were removed for their age."""
    query = update(jobs).where(jobs.c.id == job_id)
    connection.execute(query.values(files_expired_at=func.now(), **_NEXT_VERSION))


_NEXT_VERSION: dict[str, Any] = {"version": jobs.c.version + 1}


def _finish(status: JobStatus, **values: Any) -> dict[str, Any]:
    ended = {"status": status, "finished_at": func.now(), "lease_expires_at": null()}
    return ended | {"worker": null(), "deadline": null(), "eta": null()} | values


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
            deadline=null(),
            **_NEXT_VERSION,
        )
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return to_job(row) if row else None


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
            **_NEXT_VERSION,
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
        .values(**values, **_NEXT_VERSION)
        .returning(jobs.c.id)
    )
    return connection.execute(query).scalar_one_or_none() is not None


def succeed(connection: Connection, job_id: str, attempt: int, result: dict[str, Any]) -> bool:
    """End a running attempt well. False where the attempt no longer owns the job."""
    values = _finish(JobStatus.SUCCEEDED, result=result, progress=1, phase=null())
    return _end_attempt(connection, job_id, attempt, JobStatus.SUCCEEDED, **values)


def _failed(error: JobError, result: dict[str, Any] | None = None) -> dict[str, Any]:
    return _finish(
        JobStatus.FAILED,
        result=null() if result is None else result,
        error_kind=error.kind,
        error_code=error.code,
        error_message=scrub(error.message),
    )


def fail(
    connection: Connection,
    job_id: str,
    attempt: int,
    error: JobError,
    result: dict[str, Any] | None = None,
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
        .values(**_failed(error), **_NEXT_VERSION)
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


def queued_for(connection: Connection, worker_class: str) -> Sequence[Job]:
    """Queued jobs that wait for the class, locked for this transaction, the oldest first."""
    query = (
        select(jobs)
        .where(jobs.c.status == JobStatus.QUEUED, jobs.c.worker_class == worker_class)
        .order_by(jobs.c.id)
        .with_for_update()
    )
    return [to_job(row) for row in connection.execute(query).mappings()]


def move(
    connection: Connection, job_id: str, *, worker_class: str, memory_bytes: int | None
) -> None:
    """Have a queued job wait for another class."""
    query = update(jobs).where(jobs.c.id == job_id)
    values = {"worker_class": worker_class, "memory_bytes": memory_bytes}
    connection.execute(query.values(**values, **_NEXT_VERSION))


def owners(connection: Connection, job_ids: Sequence[str]) -> set[tuple[str, int]]:
    """The (job id, attempt) pairs that may have files: attempts at work, and those with artifacts.

    A failed attempt has artifacts where its quality gate refused what the client asked to keep.
    """
    at_work = jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING])
    published = exists().where(artifacts.c.job_id == jobs.c.id)
    query = select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(job_ids), or_(at_work, published))
    return {(row.id, row.attempt) for row in connection.execute(query)}


def unfinished(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that exist and have not ended."""
    open_ones = [status for status in JobStatus if not status.terminal]
    query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.status.in_(open_ones))
    return set(connection.execute(query).scalars())


def kept(connection: Connection, job_id: str, attempt: int) -> None:
    """Note that the next attempt will start further on than this one did."""
    query = update(jobs).where(jobs.c.id == job_id, jobs.c.attempt == attempt)
    connection.execute(query.values(fruitless=0))


def fruitless(connection: Connection, job_id: str) -> int:
    """Attempts in a row, up to the present one, that kept nothing."""
    query = select(jobs.c.fruitless).where(jobs.c.id == job_id)
    return int(connection.execute(query).scalar_one())
