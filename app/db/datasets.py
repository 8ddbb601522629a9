"""Which projects have which uploaded data sets. The content lies in the store, once."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import datasets

_table = datasets.c


def add(connection: Connection, project_id: str, dataset_id: str) -> bool:
    """Give the project the data set; False where it has it already."""
    row = insert(datasets).values(project_id=project_id, id=dataset_id)
    made = connection.execute(row.on_conflict_do_nothing().returning(_table.id))
    return made.scalar_one_or_none() is not None


def has(connection: Connection, project_id: str, dataset_id: str) -> bool:
    """Is it one of the project's?"""
    query = select(_table.id).where(_table.project_id == project_id, _table.id == dataset_id)
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
