"""Rows of publications: the queue and the log in one."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, null, select, update

from app.db import quarantine
from app.db.tables import jobs, publications
from app.domain.ids import new_id
from app.domain.publications import Publication, PublicationState, PublishRequest
from app.domain.quarantine import Loop

_table = publications.c


def _publication(row: RowMapping) -> Publication:
    values: dict[str, Any] = dict(row)
    return Publication(**values | {"state": PublicationState(row["state"])})


def add(connection: Connection, job_id: str, wanted: Sequence[PublishRequest]) -> None:
    """Queue a job's publications."""
    rows = [{"id": new_id("pub"), "job_id": job_id} | each.model_dump() for each in wanted]
    if rows:
        connection.execute(insert(publications), rows)


def next_due(connection: Connection, busy: Collection[str] = ()) -> tuple[str, str] | None:
    """The (publication id, project id) to attempt now, locked; None where there is none.

    Args:
        connection: a transaction.
        busy: projects whose publications are passed over.
    """
    query = (
        select(_table.id, jobs.c.project_id)
        .join(jobs, jobs.c.id == _table.job_id)
        .where(_table.next_at <= func.now(), jobs.c.project_id.not_in(busy))
        .where(~quarantine.waits(Loop.PUBLISH, _table.id))
        .order_by(_table.next_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=publications)
    )
    row = connection.execute(query).one_or_none()
    return (row.id, row.project_id) if row else None


def take(connection: Connection, publication_id: str, lease: timedelta) -> Publication:
    """The publication, counted as attempted; nobody else takes it for so long."""
    query = (
        update(publications)
        .where(_table.id == publication_id)
        .values(attempts=_table.attempts + 1, next_at=func.now() + lease)
        .returning(publications)
    )
    return _publication(connection.execute(query).mappings().one())


def extend(connection: Connection, publication: Publication, lease: timedelta) -> None:
    """Keep an attempt that takes its time."""
    query = update(publications).where(
        _table.id == publication.id, _table.attempts == publication.attempts
    )
    connection.execute(query.values(next_at=func.now() + lease))


def settle(
    connection: Connection,
    publication: Publication,
    state: PublicationState,
    *,
    url: str | None = None,
    error: str | None = None,
    pause: timedelta | None = None,
) -> bool:
    """Note what came of an attempt; False where another attempt has begun meanwhile."""
    query = update(publications).where(
        _table.id == publication.id, _table.attempts == publication.attempts
    )
    next_at = null() if pause is None else func.now() + pause
    values = {"state": state, "url": url, "last_error": error, "next_at": next_at}
    return connection.execute(query.values(**values)).rowcount > 0


def of_job(connection: Connection, job_id: str) -> list[Publication]:
    """All publications of a job, oldest first."""
    query = select(publications).where(_table.job_id == job_id).order_by(_table.id)
    return [_publication(row) for row in connection.execute(query).mappings()]


def retry(connection: Connection, job_id: str, publication_id: str) -> Publication | None:
    """Start a publication over, at once; None where the job has none of that id."""
    query = (
        update(publications)
        .where(_table.job_id == job_id, _table.id == publication_id)
        .values(state=PublicationState.PENDING, attempts=0, next_at=func.now(), last_error=null())
        .returning(publications)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _publication(row) if row else None
