"""Rows of published files."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select

from app.db.tables import artifacts
from app.domain.jobs import Artifact


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
