"""What a client does with the jobs of its project: look, change, cancel, delete."""

from sqlalchemy import Connection

from app.db import events, jobs, outbox, projects, sweeps
from app.domain.entity_tags import require
from app.domain.job_options import JobChange
from app.domain.jobs import Event, Job, JobFilter, JobStatus, status_event
from app.domain.projects import Caller
from app.errors import JobFinishedError, JobNotFinishedError, JobNotFoundError, ResultNotReadyError
from app.services.lifecycle import job_events, retention


def get(connection: Connection, caller: Caller, job_id: str, *, lock: bool = False) -> Job:
    """The job.

    Raises:
        JobNotFoundError: the project has no job of that id.
    """
    job = jobs.get(connection, caller.project_id, job_id, lock=lock)
    if job is None:
        raise JobNotFoundError(f"there is no job {job_id!r}")
    return job


def get_ended(connection: Connection, caller: Caller, job_id: str) -> Job:
    """The job, once it has ended.

    Raises:
        JobNotFoundError: the project has no job of that id.
        ResultNotReadyError: it has not ended.
    """
    job = get(connection, caller, job_id)
    if not job.status.terminal:
        raise ResultNotReadyError(f"job {job_id!r} is {job.status}; ask again later")
    return job


def page(
    connection: Connection, caller: Caller, *, limit: int, cursor: str | None, only: JobFilter
) -> tuple[list[Job], str | None]:
    """Up to `limit` jobs and the cursor of the next page (None at the end)."""
    found = jobs.page(connection, caller.project_id, limit=limit + 1, cursor=cursor, only=only)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None


def get_unchanged(connection: Connection, caller: Caller, job_id: str, expected: str | None) -> Job:
    """The job, locked until the transaction ends, if it is in the state the client has seen.

    Args:
        connection: an open transaction.
        caller: who asks.
        job_id: which job.
        expected: the value of If-Match; None does not restrict.

    Raises:
        JobNotFoundError: the project has no job of that id.
        PreconditionError: the job has changed since.
    """
    job = get(connection, caller, job_id, lock=True)
    require(expected, job.etag, f"job {job_id!r}")
    return job


def change(
    connection: Connection, caller: Caller, job_id: str, wanted: JobChange, expected: str | None
) -> Job:
    """Set labels, metadata or priority.

    Raises:
        JobNotFoundError: the project has no job of that id.
        PreconditionError: the job has changed since the client looked.
    """
    job = get_unchanged(connection, caller, job_id, expected)
    values = wanted.model_dump(exclude_none=True)
    if not values:
        return job
    if wanted.priority is not None:
        outbox.set_priority(connection, job_id, wanted.priority)
    projects.record_change(connection, caller, "job.change", job_id)
    return jobs.change(connection, job_id, **values)


def cancel(connection: Connection, caller: Caller, job_id: str, expected: str | None = None) -> Job:
    """Stop the job: at once where it is queued, at its worker's next check where it runs.

    Asking again while it is cancelling, or after it was cancelled, changes nothing.

    Raises:
        JobNotFoundError: the project has no job of that id.
        JobFinishedError: it has succeeded or failed already.
        PreconditionError: the job has changed since the client looked.
    """
    job = get_unchanged(connection, caller, job_id, expected)
    changed = stop(connection, job_id)
    if changed is None:
        if job.status in {JobStatus.CANCELLING, JobStatus.CANCELLED}:
            return job
        raise JobFinishedError(f"job {job_id!r} has {job.status} already")
    projects.record_change(connection, caller, "job.cancel", job_id)
    return changed


def stop(connection: Connection, job_id: str) -> Job | None:
    """Cancel a job; None where there was nothing left to stop."""
    changed = jobs.cancel(connection, job_id)
    if changed is not None:
        outbox.remove(connection, job_id)
        job_events.write(connection, changed, [status_event(changed.status)])
    return changed


def delete(connection: Connection, caller: Caller, job_id: str, expected: str | None = None) -> Job:
    """Remove an ended job; the caller discards its files once this is committed.

    Raises:
        JobNotFoundError: the project has no job of that id.
        JobNotFinishedError: it has not ended.
        JobInUseError: something else needs its files.
        PreconditionError: the job has changed since the client looked.
    """
    job = get_unchanged(connection, caller, job_id, expected)
    if not job.status.terminal:
        raise JobNotFinishedError(f"job {job_id!r} is {job.status}; cancel it first")
    retention.remove(connection, caller.project_id, [job_id])
    if job.sweep_id is not None:
        job_events.update_best_member(connection, sweeps.lock(connection, job.sweep_id))
    projects.record_change(connection, caller, "job.delete", job_id)
    return job


def list_events(
    connection: Connection, caller: Caller, job_id: str, *, after: int, limit: int
) -> list[Event]:
    """Events of the job that follow `after`, oldest first."""
    get(connection, caller, job_id)
    return events.page(connection, job_id, after=after, limit=limit)


def stream_from(connection: Connection, caller: Caller, job_id: str, seen: int) -> int | None:
    """Where a watcher that has seen the event `seen` goes on; None where nothing will follow."""
    job = get(connection, caller, job_id)
    return events.resume(connection, job_id, seen, ended=job.status.terminal)
