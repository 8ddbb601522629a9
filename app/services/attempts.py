"""What a worker does with a job: claim it, keep the lease, end the attempt."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from app.db import artifacts, events, jobs, outbox
from app.domain.jobs import (
    Artifact,
    EventLevel,
    EventType,
    FailureKind,
    Job,
    JobError,
    JobStatus,
    Lease,
    NewEvent,
    Phase,
)

RETRY_DELAY = timedelta(seconds=2)


def claim(connection: Connection, job_id: str, *, worker: str, lease: timedelta) -> Job | None:
    """Take the job for this worker; None where somebody has it already, or nobody wants it."""
    job = jobs.claim(connection, job_id, worker=worker, lease=lease)
    if job is None:
        return None
    outbox.remove(connection, job_id)
    event = NewEvent(EventType.STATUS, "running", data={"attempt": job.attempt, "worker": worker})
    events.append(connection, job_id, job.attempt, [event])
    return job


def heartbeat(
    connection: Connection,
    job: Job,
    *,
    lease: timedelta,
    phase: Phase,
    progress: float,
    log: Sequence[NewEvent],
) -> Lease:
    """Extend the lease, store progress and events. A lost lease stores nothing."""
    state = jobs.heartbeat(
        connection, job.id, job.attempt, lease=lease, phase=phase, progress=progress
    )
    if state is not Lease.LOST:
        events.append(connection, job.id, job.attempt, log)
    return state


def succeed(
    connection: Connection,
    job: Job,
    *,
    result: dict[str, Any],
    files: Sequence[Artifact],
    log: Sequence[NewEvent],
) -> bool:
    """End the attempt well: status, files and last events appear in one commit.

    Returns:
        False where the attempt lost its lease or was asked to cancel; then nothing is stored.
    """
    if not jobs.succeed(connection, job.id, job.attempt, result):
        return False
    artifacts.add(connection, files)
    final = NewEvent(EventType.STATUS, JobStatus.SUCCEEDED)
    events.append(connection, job.id, job.attempt, [*log, final])
    return True


def fail(
    connection: Connection,
    job: Job,
    error: JobError,
    *,
    log: Sequence[NewEvent],
    result: dict[str, Any] | None = None,
    files: Sequence[Artifact] = (),
) -> bool:
    """End the attempt with an error; an attempt asked to cancel ends as cancelled instead.

    Args:
        connection: a transaction.
        job: as it was claimed.
        error: why.
        log: last events.
        result: figures of a job that was refused for them.
        files: what it publishes nonetheless.

    Returns:
        False where the attempt lost its lease or was asked to cancel.
    """
    if not jobs.fail(connection, job.id, job.attempt, error, result):
        end_cancelled(connection, job, log=log)
        return False
    if files:
        artifacts.add(connection, files)
    data = {"code": error.code, "kind": error.kind}
    final = NewEvent(EventType.STATUS, f"failed: {error.message}", EventLevel.ERROR, data)
    events.append(connection, job.id, job.attempt, [*log, final])
    return True


def retry(connection: Connection, job: Job, error: JobError, *, log: Sequence[NewEvent]) -> None:
    """Give the job back after a passing fault, or fail it where its attempts are used up."""
    if job.attempt >= job.max_attempts:
        fail(connection, job, error, log=log)
    elif jobs.requeue(connection, job.id, job.attempt):
        outbox.add(connection, job.id, delay=RETRY_DELAY * 2 ** (job.attempt - 1))
        event = _requeued(error)
        events.append(connection, job.id, job.attempt, [*log, event])
    else:
        end_cancelled(connection, job, log=log)


def end_cancelled(connection: Connection, job: Job, *, log: Sequence[NewEvent] = ()) -> None:
    """End an attempt that was asked to cancel; does nothing for any other."""
    if jobs.end_cancelled(connection, job.id, job.attempt):
        final = NewEvent(EventType.STATUS, JobStatus.CANCELLED)
        events.append(connection, job.id, job.attempt, [*log, final])


def reap(connection: Connection, *, limit: int = 100) -> int:
    """End the attempts whose lease ran out: their worker is gone or stuck. Returns how many."""
    dead = jobs.expired(connection, limit=limit)
    for job in dead:
        if job.status is JobStatus.CANCELLING:
            end_cancelled(connection, job)
        elif job.attempt >= job.max_attempts:
            fail(connection, job, _lost(job), log=())
        elif jobs.requeue(connection, job.id, job.attempt):
            outbox.add(connection, job.id)
            events.append(connection, job.id, job.attempt, [_requeued(_lost(job))])
    return len(dead)


def _lost(job: Job) -> JobError:
    message = f"the worker of attempt {job.attempt} of {job.max_attempts} stopped responding"
    return JobError(FailureKind.SYSTEM, "worker_lost", message)


def _requeued(error: JobError) -> NewEvent:
    message = f"queued again: {error.message}"
    return NewEvent(EventType.STATUS, message, EventLevel.WARNING, {"code": error.code})
