"""Rows of worker processes."""

from sqlalchemy import Connection, and_, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from app.db.tables import jobs
from app.db.tables import workers as table
from app.domain.jobs import JobStatus
from app.planning.workers import FORGOTTEN, NewWorker, Worker

MOST = 1000

_OF_MACHINE = ("worker_class", "device", "devices", "device_bytes", "memory_bytes", "cores")


def put(connection: Connection, new: NewWorker) -> None:
    """Add a process that starts, in the place of an earlier one of its name.

    Those that were silent for long are removed on this occasion: they ended without a word.
    """
    connection.execute(delete(table).where(table.c.seen_at < func.now() - FORGOTTEN))
    values = {name: getattr(new.machine, name) for name in _OF_MACHINE} | {
        "versions": dict(new.versions),
        "started_at": func.now(),
        "seen_at": func.now(),
    }
    row = insert(table).values(name=new.name, **values)
    connection.execute(row.on_conflict_do_update(index_elements=[table.c.name], set_=values))


def seen(connection: Connection, name: str) -> bool:
    """Note a sign of life; False where the process is not known."""
    query = update(table).where(table.c.name == name).values(seen_at=func.now())
    return connection.execute(query).rowcount > 0


def remove(connection: Connection, name: str) -> None:
    """Forget a process that ends."""
    connection.execute(delete(table).where(table.c.name == name))


def listing(connection: Connection, project_id: str) -> list[Worker]:
    """The processes by class and name, and what they run; jobs of other projects have no id."""
    runs = and_(
        jobs.c.finished_at.is_(None),  # which has an index
        jobs.c.worker == table.c.name,
        jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]),
    )
    query = (
        select(
            table,
            jobs.c.id.is_not(None).label("busy"),
            case((jobs.c.project_id == project_id, jobs.c.id)).label("job_id"),
        )
        .outerjoin(jobs, runs)
        .where(table.c.seen_at > func.now() - FORGOTTEN)
        .order_by(table.c.worker_class, table.c.name, jobs.c.attempt_started_at.desc())
        .ext(distinct_on(table.c.worker_class, table.c.name))
        .limit(MOST)
    )
    return [Worker(**row) for row in connection.execute(query).mappings()]
