"""How long files and jobs are kept: never shorter than somebody needs them."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection

from app.db import artifacts, jobs, projects, sweeps
from app.db import retention as old
from app.errors import JobInUseError


def refuse_needed(connection: Connection, project_id: str, job_ids: Sequence[str]) -> None:
    """Let nobody remove files that others count on.

    Raises:
        JobInUseError: one of the jobs is a version of a model, is being published, or is what
            another job of the project starts from.
    """
    for job_id, reason in artifacts.needed(connection, project_id, job_ids).items():
        raise JobInUseError(f"the files of job {job_id!r} are needed: {reason}")


def remove(connection: Connection, project_id: str, job_ids: Sequence[str]) -> None:
    """Remove ended jobs with their events; their files are discarded after the commit.

    Raises:
        JobInUseError: something else needs files of one of them.
    """
    refuse_needed(connection, project_id, job_ids)
    _remove(connection, project_id, job_ids)


def _remove(connection: Connection, project_id: str, job_ids: Sequence[str]) -> None:
    size = artifacts.total_size(connection, job_ids)
    jobs.remove(connection, job_ids)
    projects.add_artifact_bytes(connection, project_id, -size)


def expire(connection: Connection, age: timedelta, job_id: str) -> bool:
    """Give up the files of a job that ended longer ago; the job stays. Did they go?

    The files themselves are discarded after the commit, like everything that nobody owns.
    """
    project_id = old.job_with_old_files(connection, age, job_id)
    if project_id is None:
        return False
    size = artifacts.total_size(connection, [job_id])
    artifacts.remove(connection, job_id)
    jobs.files_expired(connection, job_id)
    projects.add_artifact_bytes(connection, project_id, -size)
    return True


def delete_job(connection: Connection, age: timedelta, job_id: str) -> bool:
    """Delete a job of no sweep that ended longer ago and that nobody needs. Did it go?

    The audit log says nothing of it: that it goes is a rule, and nobody's act.
    """
    project_id = old.old_job(connection, age, job_id)
    if project_id is None:
        return False
    _remove(connection, project_id, [job_id])
    return True


def delete_sweep(connection: Connection, age: timedelta, sweep_id: str) -> bool:
    """The same for a sweep with all of its members."""
    members = jobs.members(connection, sweep_id, lock=True)
    project_id = old.old_sweep(connection, age, sweep_id)
    if project_id is None:
        return False
    _remove(connection, project_id, [job.id for job in members])
    sweeps.remove(connection, sweep_id)
    return True
