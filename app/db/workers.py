"""Rows of worker classes: the last machine of each that started."""

from dataclasses import asdict, fields

from sqlalchemy import Connection, RowMapping, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import worker_classes
from app.planning.machines import Machine, WorkerClass

_FIELDS = [field.name for field in fields(Machine)]


def _class(row: RowMapping) -> WorkerClass:
    machine = Machine(**{name: row[name] for name in _FIELDS})
    return WorkerClass(machine, row["seen_at"], row["measured_at"])


def put(connection: Connection, machine: Machine) -> None:
    """Let the machine, measured just now, speak for its class from now on."""
    values = asdict(machine) | {"seen_at": func.now(), "measured_at": func.now()}
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
