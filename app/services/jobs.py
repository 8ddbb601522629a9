"""What a client does with jobs: submit, look, cancel."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sqlalchemy import Connection

from app.db import artifacts, events, jobs, outbox
from app.domain.errors import (
    ArtifactNotFoundError,
    ArtifactPathError,
    JobFinishedError,
    JobNotFoundError,
)
from app.domain.jobs import Artifact, Event, EventType, Job, JobStatus, NewEvent, NewJob
from app.domain.model_source import LocalModel, parse_model_source
from app.domain.submission import JobRequest, resolve
from app.model_directory import resolve_local_model
from app.services.earlier_scores import with_scores
from app.storage.store import ArtifactStore


def submit(
    connection: Connection,
    request: JobRequest,
    *,
    store: ArtifactStore,
    model_roots: Sequence[Path],
    max_attempts: int,
) -> Job:
    """Store the job and its outbox message together; the message leaves after the commit.

    Raises:
        UserError: the model reference, the method or its parameters cannot be accepted.
    """
    source = parse_model_source(request.model)
    if isinstance(source, LocalModel):
        resolve_local_model(source.path, model_roots)
    spec = with_scores(connection, store, resolve(request))
    job = jobs.create(connection, NewJob(spec.model_dump(mode="json"), max_attempts))
    outbox.add(connection, job.id)
    events.append(connection, job.id, 0, [NewEvent(EventType.STATUS, "queued")])
    return job


def get(connection: Connection, job_id: str) -> Job:
    """The job.

    Raises:
        JobNotFoundError: no job has that id.
    """
    job = jobs.get(connection, job_id)
    if job is None:
        raise JobNotFoundError(f"there is no job {job_id!r}")
    return job


def page(
    connection: Connection, *, limit: int, cursor: str | None, status: JobStatus | None
) -> tuple[list[Job], str | None]:
    """Up to `limit` jobs, newest first, and the cursor of the next page (None at the end)."""
    found = jobs.page(connection, limit=limit + 1, before=cursor, status=status)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None


def cancel(connection: Connection, job_id: str) -> Job:
    """Stop the job: at once where it is queued, at its worker's next check where it runs.

    Asking again while it is cancelling, or after it was cancelled, changes nothing.

    Raises:
        JobNotFoundError: no job has that id.
        JobFinishedError: it has succeeded or failed already.
    """
    changed = jobs.cancel(connection, job_id)
    if changed is None:
        job = get(connection, job_id)
        if job.status in {JobStatus.CANCELLING, JobStatus.CANCELLED}:
            return job
        raise JobFinishedError(f"job {job_id!r} has {job.status} already")
    outbox.remove(connection, job_id)
    event = NewEvent(EventType.STATUS, changed.status)
    events.append(connection, job_id, changed.attempt, [event])
    return changed


def list_events(connection: Connection, job_id: str, *, after: int, limit: int) -> list[Event]:
    """Events of the job that follow `after`, oldest first."""
    get(connection, job_id)
    return events.page(connection, job_id, after=after, limit=limit)


def list_artifacts(connection: Connection, job_id: str) -> list[Artifact]:
    """Published files; empty until the job has succeeded."""
    get(connection, job_id)
    return artifacts.of_job(connection, job_id)


def require_artifacts(connection: Connection, job_id: str) -> list[Artifact]:
    """Published files of a job that has some.

    Raises:
        JobNotFoundError: no job has that id.
        ArtifactNotFoundError: the job has no files (yet).
    """
    found = list_artifacts(connection, job_id)
    if not found:
        raise ArtifactNotFoundError(f"job {job_id!r} has no files; has it succeeded?")
    return found


def get_artifact(connection: Connection, job_id: str, path: str) -> Artifact:
    """One published file.

    Raises:
        ArtifactPathError: the path is absolute or leaves the job's directory.
        JobNotFoundError: no job has that id.
        ArtifactNotFoundError: the job has no such file (yet).
    """
    if path.startswith("/") or "\\" in path or "\0" in path or ".." in PurePosixPath(path).parts:
        raise ArtifactPathError(f"{path!r} is not a path inside the job's artifacts")
    get(connection, job_id)
    artifact = artifacts.get(connection, job_id, path)
    if artifact is None:
        raise ArtifactNotFoundError(f"job {job_id!r} has no artifact {path!r}")
    return artifact
