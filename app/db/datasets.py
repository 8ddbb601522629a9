"""Which projects have which uploaded data sets. The content lies in the store, once."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import datasets, jobs

_table = datasets.c


def add(connection: Connection, project_id: str, dataset_id: str) -> bool:
    """Give the project the data set; False where it has it already."""
    row = insert(datasets).values(project_id=project_id, id=dataset_id)
    made = connection.execute(row.on_conflict_do_nothing().returning(_table.id))
    return made.scalar_one_or_none() is not None


def has(connection: Connection, project_id: str, dataset_id: str, *, keep: bool = False) -> bool:
    """Is it one of the project's? With `keep`, it is until the transaction ends."""
    query = select(_table.id).where(_table.project_id == project_id, _table.id == dataset_id)
    if keep:
        query = query.with_for_update(read=True, key_share=True)
    return connection.execute(query).first() is not None


def lock(connection: Connection, dataset_id: str) -> None:
    """Wait for whoever stores or removes the content of that id, until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(dataset_id, 0))))


def owned(connection: Connection, dataset_ids: Sequence[str]) -> set[str]:
    """Those that a project has."""
    query = select(_table.id).where(_table.id.in_(dataset_ids)).distinct()
    return set(connection.execute(query).scalars())


def is_read(connection: Connection, dataset_id: str) -> bool:
    """Does a job that has not ended name it?"""
    named = [
        jobs.c.spec[part]["set"].astext == dataset_id for part in ("calibration", "evaluation")
    ]
    query = select(jobs.c.id).where(jobs.c.finished_at.is_(None), or_(*named)).limit(1)
    return connection.execute(query).first() is not None


def page(
    connection: Connection, project_id: str, *, limit: int, after: str | None
) -> Sequence[str]:
    """Up to `limit` ids of the project's data sets, in order, after the id `after`."""
    query = select(_table.id).where(_table.project_id == project_id).order_by(_table.id)
    if after is not None:
        query = query.where(_table.id > after)
    return connection.execute(query.limit(limit)).scalars().all()


def remove(connection: Connection, project_id: str, dataset_id: str) -> None:
    """Take the data set from the project; jobs that were submitted still find its content."""
    query = delete(datasets).where(_table.project_id == project_id, _table.id == dataset_id)
    connection.execute(query)
