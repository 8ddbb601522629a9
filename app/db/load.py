"""How much there is to do: figures for dashboards and for scaling."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from app.db.tables import jobs, outbox


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of one moment.

    Attributes:
        jobs: how many, by (status, method).
        waiting: jobs that a free worker could start now.
        oldest_seconds: how long the first of them waits; 0 where none does.
    """

    jobs: dict[tuple[str, str], int]
    waiting: int
    oldest_seconds: float


def load(connection: Connection) -> Load:
    """The figures of now."""
    method = jobs.c.spec["method"].astext
    counted = select(jobs.c.status, method.label("method"), func.count().label("jobs"))
    rows = connection.execute(counted.group_by(jobs.c.status, method))
    found = {(row.status, row.method or ""): row.jobs for row in rows}
    oldest = func.extract("epoch", func.now() - func.min(outbox.c.due_at))
    due = select(func.count().label("waiting"), func.coalesce(oldest, 0).label("oldest"))
    row = connection.execute(due.where(outbox.c.due_at <= func.now())).one()
    return Load(found, row.waiting, float(row.oldest))
