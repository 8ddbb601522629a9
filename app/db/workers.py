"""Rows of worker classes, and how much there is for them to do."""

from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, RowMapping, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db import quarantine
from app.db.tables import jobs, outbox, worker_classes
from app.domain.quarantine import Loop
from app.planning.machines import Machine, WorkerClass

_FIELDS = [field.name for field in fields(Machine)]
_LISTS = ("libraries", "tasks")


def _class(row: RowMapping) -> WorkerClass:
    values = {name: row[name] for name in _FIELDS}
    machine = Machine(**values | {name: tuple(row[name]) for name in _LISTS})
    return WorkerClass(machine, row["seen_at"], row["measured_at"])


def put(connection: Connection, machine: Machine) -> None:
    """Let the machine, measured just now, speak for its class from now on."""
    lists = {name: list(getattr(machine, name)) for name in _LISTS}
    times = {"seen_at": func.now(), "measured_at": func.now()}
    values = asdict(machine) | lists | times
    row = insert(worker_classes).values(values)
    column = worker_classes.c.worker_class
    connection.execute(row.on_conflict_do_update(index_elements=[column], set_=values))


def seen(connection: Connection, name: str) -> bool:
    """Note a sign of life of the class; False where it is not known."""
    query = update(worker_classes).where(worker_classes.c.worker_class == name)
    return connection.execute(query.values(seen_at=func.now())).rowcount > 0


def get(connection: Connection, name: str) -> WorkerClass | None:
    """The class of that name, if a worker of it has ever started."""
    query = select(worker_classes).where(worker_classes.c.worker_class == name)
    row = connection.execute(query).mappings().one_or_none()
    return _class(row) if row else None


def listing(connection: Connection) -> list[WorkerClass]:
    """All classes, by name."""
    query = select(worker_classes).order_by(worker_classes.c.worker_class)
    return [_class(row) for row in connection.execute(query).mappings()]


def remove(connection: Connection, name: str) -> bool:
    """Forget the class, until the next worker of it starts; False where there is none."""
    query = delete(worker_classes).where(worker_classes.c.worker_class == name)
    return connection.execute(query).rowcount > 0


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of one moment.

    Attributes:
        jobs: how many have not ended, by (status, method).
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
    counted = select(jobs.c.status, jobs.c.method, func.count().label("jobs"))
    counted = counted.where(jobs.c.finished_at.is_(None))
    rows = connection.execute(counted.group_by(jobs.c.status, jobs.c.method))
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
