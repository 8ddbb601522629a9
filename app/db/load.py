"""How much there is to do: figures for dashboards and for scaling."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from app.db import quarantine
from app.db.tables import jobs, outbox, worker_classes
from app.domain.quarantine import Loop


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of one moment.

    Attributes:
        jobs: how many, by (status, method).
        waiting: jobs that a free worker could start now, by worker class; 0 for one that is known
            and has none.
        oldest_seconds: how long the first of them waits, by the same classes; 0 where none does.
        set_aside: items that maintenance fails on, by its loop.
    """

    jobs: dict[tuple[str, str], int]
    waiting: dict[str, int]
    oldest_seconds: dict[str, float]
    set_aside: dict[str, int]


def load(connection: Connection) -> Load:
    """The figures of now."""
    method = jobs.c.spec["method"].astext
    counted = select(jobs.c.status, method.label("method"), func.count().label("jobs"))
    rows = connection.execute(counted.group_by(jobs.c.status, method))
    found = {(row.status, row.method or ""): row.jobs for row in rows}
    known = dict.fromkeys(connection.execute(select(worker_classes.c.worker_class)).scalars(), 0)
    oldest = func.extract("epoch", func.now() - func.min(outbox.c.due_at)).label("oldest")
    due = (
        select(jobs.c.worker_class, func.count().label("waiting"), oldest)
        .join(outbox, outbox.c.job_id == jobs.c.id)
        .where(outbox.c.due_at <= func.now())
        .group_by(jobs.c.worker_class)
    )
    queues = connection.execute(due).all()
    return Load(
        found,
        known | {row.worker_class: row.waiting for row in queues},
        dict.fromkeys(known, 0.0) | {row.worker_class: float(row.oldest) for row in queues},
        dict.fromkeys(map(str, Loop), 0) | quarantine.counts(connection),
    )
