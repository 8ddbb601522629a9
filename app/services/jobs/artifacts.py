"""What a client does with published files: list them, get one."""

from pathlib import PurePosixPath

from sqlalchemy import Connection

from app.db import artifacts
from app.domain.jobs import Artifact, Job
from app.domain.projects import Caller
from app.errors import (
    ArtifactExpiredError,
    ArtifactNotFoundError,
    ArtifactNotPackableError,
    ArtifactPathError,
)
from app.packed import PACKABLE
from app.services.jobs.service import get as get_job


def listing(connection: Connection, caller: Caller, job_id: str) -> list[Artifact]:
    """Published files; empty until the job has succeeded."""
    get_job(connection, caller, job_id)
    return artifacts.of_job(connection, job_id)


def require(connection: Connection, caller: Caller, job_id: str) -> list[Artifact]:
    """Published files of a job that has some.

    Raises:
        JobNotFoundError: the project has no job of that id.
        ArtifactNotFoundError: the job has no files (yet).
        ArtifactExpiredError: it has none any more.
    """
    _refuse_expired(get_job(connection, caller, job_id))
    found = artifacts.of_job(connection, job_id)
    if not found:
        raise ArtifactNotFoundError(f"job {job_id!r} has no files; has it succeeded?")
    return found


def get(connection: Connection, caller: Caller, job_id: str, path: str) -> Artifact:
    """One published file.

    Raises:
        ArtifactPathError: the path is absolute or leaves the job's directory.
        JobNotFoundError: the project has no job of that id.
        ArtifactNotFoundError: the job has no such file (yet).
        ArtifactExpiredError: it has none any more.
    """
    if path.startswith("/") or "\\" in path or "\0" in path or ".." in PurePosixPath(path).parts:
        raise ArtifactPathError(f"{path!r} is not a path inside the job's artifacts")
    _refuse_expired(get_job(connection, caller, job_id))
    artifact = artifacts.get(connection, job_id, path)
    if artifact is None:
        raise ArtifactNotFoundError(f"job {job_id!r} has no artifact {path!r}")
    return artifact


def get_packable(connection: Connection, caller: Caller, job_id: str, path: str) -> Artifact:
    """One published file that has a packed form.

    Raises:
        ArtifactNotPackableError: it is no safetensors file.
        UserError: as `get`.
    """
    artifact = get(connection, caller, job_id, path)
    if not path.endswith(PACKABLE):
        raise ArtifactNotPackableError(f"{path!r} is no {PACKABLE} file; download it as it is")
    return artifact


def _refuse_expired(job: Job) -> None:
    if job.files_expired_at is not None:
        raise ArtifactExpiredError(
            f"the files of job {job.id!r} were removed on {job.files_expired_at:%Y-%m-%d}; "
            "clone the job to have them made again"
        )
