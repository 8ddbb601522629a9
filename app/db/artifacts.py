"""Rows of published files, and who still needs them."""

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
)

from app.db.tables import artifacts, jobs, model_versions, publications
from app.domain.jobs import Artifact
from app.domain.publications import PublicationState


def add(connection: Connection, new: Sequence[Artifact]) -> None:
    """Store the files of a finished attempt; they become visible together, on commit."""
    if not new:
        return
    connection.execute(
        insert(artifacts),
        [
            {
                "job_id": artifact.job_id,
                "attempt": artifact.attempt,
                "path": artifact.path,
                "size": artifact.size,
                "sha256": artifact.sha256,
                "media_type": artifact.media_type,
            }
            for artifact in new
        ],
    )


def of_job(connection: Connection, job_id: str) -> list[Artifact]:
    """All files of a job, by path."""
    query = select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.path)
    return [Artifact(**row) for row in connection.execute(query).mappings()]


def get(connection: Connection, job_id: str, path: str) -> Artifact | None:
    """One file of a job."""
    query = select(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.path == path)
    row = connection.execute(query).mappings().one_or_none()
    return Artifact(**row) if row else None


def total_size(connection: Connection, job_ids: Sequence[str]) -> int:
    """Bytes of all files of some jobs."""
    total = func.coalesce(func.sum(artifacts.c.size), 0)
    query = select(total).where(artifacts.c.job_id.in_(job_ids))
    return int(connection.execute(query).scalar_one())


def remove(connection: Connection, job_id: str) -> None:
    """Forget all files of a job."""
    connection.execute(delete(artifacts).where(artifacts.c.job_id == job_id))


def digests(connection: Connection, job_ids: Sequence[str], path: str) -> dict[str, str]:
    """The SHA-256 of the file of that path, by job."""
    query = select(artifacts.c.job_id, artifacts.c.sha256)
    query = query.where(artifacts.c.job_id.in_(job_ids), artifacts.c.path == path)
    return {row.job_id: row.sha256 for row in connection.execute(query)}


# How another job names this one as its model.
SOURCE = "hf:jobs/"


def needed(connection: Connection, project_id: str, job_ids: Sequence[str]) -> dict[str, str]:
    """Which of the project's jobs must keep their files, and what for.

    Jobs of another project that name one of them do not count: they cannot read its files.
    """
    found: dict[str, str] = {}
    for owner, job_id, source in _sources(connection):
        if owner == project_id and source in job_ids:
            found[source] = f"{job_id} starts from it"
    pending = select(publications.c.job_id, publications.c.destination).where(
        publications.c.job_id.in_(job_ids), publications.c.state == PublicationState.PENDING
    )
    for row in connection.execute(pending):
        found[row.job_id] = f"it is on its way to {row.destination}"
    versions = select(model_versions).where(model_versions.c.job_id.in_(job_ids))
    for row in connection.execute(versions):
        found[row.job_id] = f"it is version {row.version} of the model {row.name}"
    return found


def _sources(connection: Connection) -> list[tuple[str, str, str]]:
    """The (project id, job id, id of the job whose files it starts from) of unfinished jobs."""
    query = select(jobs.c.project_id, jobs.c.id, jobs.c.model)
    named = (jobs.c.finished_at.is_(None), jobs.c.model.startswith(SOURCE))
    return [
        (row.project_id, row.id, row.model.removeprefix(SOURCE).partition("@")[0])
        for row in connection.execute(query.where(*named))
    ]


def unneeded(connection: Connection) -> ColumnElement[bool]:
    """For a query of jobs: nobody needs the files of the job, in the sense of `needed`."""
    versions = exists().where(model_versions.c.job_id == jobs.c.id)
    pending = exists().where(
        publications.c.job_id == jobs.c.id, publications.c.state == PublicationState.PENDING
    )
    sources = [(owner, source) for owner, _, source in _sources(connection)]
    return and_(~versions, ~pending, tuple_(jobs.c.project_id, jobs.c.id).not_in(sources))
