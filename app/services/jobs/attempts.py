"""What a worker does with a job: claim it, keep the lease, end the attempt."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection

from app.db import artifacts, leases, outbox, projects
from app.db.engine import AWAY
from app.domain.job_result import JobResult
from app.domain.jobs import (
    DEFAULT_CLASS,
    Artifact,
    EventLevel,
    FailureKind,
    Job,
    JobError,
    JobStatus,
    Lease,
    NewEvent,
    Phase,
    status_event,
)
from app.domain.quarantine import Loop
from app.services.lifecycle import job_events, publications
from app.services.quarantine import set_aside

RETRY_DELAY = timedelta(seconds=2)
OUTAGE_ATTEMPTS = 5  # more than a job has: the delays between them add up to four minutes
_HANDED_BACK = "queued again: its worker was asked to end"


ANY_SIZE = 2**63 - 1


def claim(
    connection: Connection,
    *,
    worker: str,
    lease: timedelta,
    worker_class: str = DEFAULT_CLASS,
    memory_bytes: int = ANY_SIZE,
) -> Job | None:
    """Take the job that should start next for this worker; None where none may.

    A project's last free place goes to one worker: its row is locked while the places are counted.
    A job that cannot be claimed is set aside, and the next one is taken.

    Args:
        connection: a transaction.
        worker: name of the process.
        lease: how long it is to be believed alive.
        worker_class: jobs of other classes are not taken.
        memory_bytes: nor those that need more.
    """
    while True:
        full = projects.full(connection)
        waiting = outbox.next_waiting(connection, full, worker_class, memory_bytes)
        if waiting is None:
            return None
        job_id, project_id = waiting
        try:
            with connection.begin_nested():
                return _claim(connection, job_id, project_id, worker=worker, lease=lease)
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, other jobs can be started
            set_aside(connection, Loop.CLAIM, job_id, error)


def _claim(
    connection: Connection, job_id: str, project_id: str, *, worker: str, lease: timedelta
) -> Job | None:
    projects.lock(connection, project_id)
    if project_id in projects.full(connection):
        return None
    job = leases.claim(connection, job_id, worker=worker, lease=lease)
    outbox.remove(connection, job_id)
    if job is not None:
        event = status_event(JobStatus.RUNNING, attempt=job.attempt, worker=worker)
        job_events.write(connection, job, [event])
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
    state = leases.heartbeat(
        connection, job.id, job.attempt, lease=lease, phase=phase, progress=progress
    )
    if state is not Lease.LOST:
        job_events.write(connection, job, log)
    return state


def note_progress(connection: Connection, job: Job) -> None:
    """Note that the attempt kept something: whatever ends it, the job got further."""
    leases.note_progress(connection, job.id, job.attempt)


def succeed(
    connection: Connection,
    job: Job,
    *,
    result: JobResult,
    files: Sequence[Artifact],
    log: Sequence[NewEvent],
) -> bool:
    """End the attempt well: status, files and last events appear in one commit.

    Returns:
        False where the attempt lost its lease or was asked to cancel; then nothing is stored.
    """
    if not leases.succeed(connection, job.id, job.attempt, result):
        return False
    _publish(connection, job, files)
    named = publications.begin(connection, job)
    _ended(connection, job, [*log, *named, status_event(JobStatus.SUCCEEDED)])
    return True


def fail(
    connection: Connection,
    job: Job,
    error: JobError,
    *,
    log: Sequence[NewEvent],
    result: JobResult | None = None,
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
    if not leases.fail(connection, job.id, job.attempt, error, result):
        end_cancelled(connection, job, log=log)
        return False
    _publish(connection, job, files)
    _ended(connection, job, [*log, _failed(error)])
    return True


def retry(connection: Connection, job: Job, error: JobError, *, log: Sequence[NewEvent]) -> None:
    """Give the job back after a fault of its surroundings, or fail it where that does not pass.

    A full disk or a store that is away outlasts a few attempts that fail at once.
    """
    fruitless = leases.attempts_without_progress(connection, job.id)
    if fruitless >= job.max_attempts + OUTAGE_ATTEMPTS:
        fail(connection, job, error, log=log)
    elif leases.requeue(connection, job.id, job.attempt):
        outbox.add(connection, job, delay=RETRY_DELAY * 2 ** max(fruitless - 1, 0))
        _ended(connection, job, [*log, _requeued(error)])
    else:
        end_cancelled(connection, job, log=log)


def hand_back(connection: Connection, job: Job, *, log: Sequence[NewEvent]) -> None:
    """Give the job back because its worker ends; it keeps as many attempts as it had."""
    if leases.hand_back(connection, job.id, job.attempt):
        outbox.add(connection, job)
        _ended(connection, job, [*log, status_event(JobStatus.QUEUED, _HANDED_BACK)])
    else:
        end_cancelled(connection, job, log=log)


def end_cancelled(connection: Connection, job: Job, *, log: Sequence[NewEvent] = ()) -> None:
    """End an attempt that was asked to cancel; does nothing for any other."""
    if leases.end_cancelled(connection, job.id, job.attempt):
        _ended(connection, job, [*log, status_event(JobStatus.CANCELLED)])


def reap(connection: Connection, job_id: str) -> bool:
    """End the job's attempt if its lease ran out: its worker is gone or stuck. Did it?"""
    job = leases.expired(connection, job_id)
    if job is None:
        return False
    if job.status is JobStatus.CANCELLING:
        end_cancelled(connection, job)
    elif job.fruitless >= job.max_attempts:
        fail(connection, job, _lost(job), log=())
    elif leases.requeue(connection, job.id, job.attempt):
        outbox.add(connection, job)
        _ended(connection, job, [_requeued(_lost(job))])
    return True


def end_overdue(connection: Connection, job_id: str) -> bool:
    """Fail the job if it waited or ran for longer than it may. Did it?"""
    job = leases.overdue(connection, job_id)
    if job is None:
        return False
    error = _overdue(job)
    if leases.fail_overdue(connection, job.id, error):
        outbox.remove(connection, job.id)
        _ended(connection, job, [_failed(error)])
    return True


def _overdue(job: Job) -> JobError:
    if job.started_at is None:
        message = f"the job did not start within {job.max_pending} s"
        return JobError(FailureKind.SYSTEM, "max_pending_exceeded", message)
    message = f"the job did not end within {job.max_runtime} s of its first start"
    return JobError(FailureKind.USER, "max_runtime_exceeded", message)


def _publish(connection: Connection, job: Job, files: Sequence[Artifact]) -> None:
    artifacts.add(connection, files)
    size = sum(file.size for file in files)
    projects.add_artifact_bytes(connection, job.project_id, size)


def _ended(connection: Connection, job: Job, log: Sequence[NewEvent]) -> None:
    """Log the end of an attempt; where the project was at its limit, its next job may start."""
    job_events.write(connection, job, log)
    limit = projects.get(connection, job.project_id).limits.running_jobs
    if projects.running(connection, job.project_id) == limit - 1:
        outbox.send_again(connection, job.project_id)


def _failed(error: JobError) -> NewEvent:
    message = f"failed: {error.message}"
    data = {"code": error.code, "kind": error.kind}
    return status_event(JobStatus.FAILED, message, EventLevel.ERROR, **data)


def _lost(job: Job) -> JobError:
    message = f"the worker of attempt {job.attempt} stopped responding"
    return JobError(FailureKind.SYSTEM, "worker_lost", message)


def _requeued(error: JobError) -> NewEvent:
    message = f"queued again: {error.message}"
    return status_event(JobStatus.QUEUED, message, EventLevel.WARNING, code=error.code)
