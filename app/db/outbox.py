"""The outbox: which jobs wait for a worker, and whether the broker was told.

Written in the transaction that queues a job, removed by the claim. A message only says that some
job waits; which one starts is decided here, by priority, when a worker is free. So a message lost
or doubled changes nothing: the row stays until the job is claimed, and a claim too many finds
nothing.
"""

import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from threading import Event, Thread
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Interval,
    bindparam,
    delete,
    func,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.db import quarantine
from app.db.jobs import to_job
from app.db.tables import NEVER, jobs, outbox, worker_classes
from app.domain.jobs import Job
from app.domain.quarantine import Loop

CHANNEL = "secateur_outbox"

_NOTIFY = text(f"NOTIFY {CHANNEL}")
_NEW = insert(outbox).values(
    {name: bindparam(name) for name in ("job_id", "project_id", "priority", "worker_class")}
    | {"due_at": func.now() + bindparam("delay", type_=Interval)}
)
_ADD = _NEW.on_conflict_do_update(
    index_elements=[outbox.c.job_id], set_={"due_at": _NEW.excluded.due_at, "sent_at": null()}
)


def add(connection: Connection, job: Job, *, delay: timedelta = timedelta(0)) -> None:
    """Have the job's message sent, `delay` from now; a waiting relay wakes on commit."""
    connection.execute(_ADD, _row(job) | {"delay": delay})
    wake(connection)


def _row(job: Job) -> dict[str, Any]:
    row = {"job_id": job.id, "project_id": job.project_id, "priority": job.priority}
    return row | {"worker_class": job.worker_class}


def wake(connection: Connection) -> None:
    """Have a waiting relay look, on commit."""
    connection.execute(_NOTIFY)


def release(connection: Connection, job: Job) -> None:
    """Have those that wait for the job, in its sweep, sent now."""
    followers = select(jobs.c.id).where(jobs.c.sweep_id == job.sweep_id, jobs.c.leader_id == job.id)
    query = (
        update(outbox)
        .where(outbox.c.job_id.in_(followers), outbox.c.due_at == NEVER)
        .values(due_at=func.now())
    )
    if connection.execute(query).rowcount:
        wake(connection)


def set_priority(connection: Connection, job_id: str, priority: int) -> None:
    """Let the job overtake others, or be overtaken, while it waits."""
    connection.execute(update(outbox).where(outbox.c.job_id == job_id).values(priority=priority))


def next_waiting(
    connection: Connection, full: Collection[str], worker_class: str, memory_bytes: int
) -> tuple[str, str] | None:
    """The (job id, project id) to start next, the job locked: highest priority, then longest due.

    Args:
        connection: an open transaction.
        full: projects that run as many jobs as they may.
        worker_class: of the worker that asks.
        memory_bytes: what a job may take there.
    """
    theirs = outbox.c.worker_class == worker_class
    # Where a version before queued them, while both run.
    unknown = outbox.c.worker_class.is_(None) & (jobs.c.worker_class == worker_class)
    for of_class in (theirs, unknown):
        query = (
            select(outbox.c.job_id, outbox.c.project_id)
            .join(jobs, jobs.c.id == outbox.c.job_id)
            .where(of_class, outbox.c.due_at <= func.now())
            .where(func.coalesce(jobs.c.memory_bytes, 0) <= memory_bytes)
            .where(~quarantine.waits(Loop.CLAIM, outbox.c.job_id))
            .order_by(outbox.c.priority.desc(), outbox.c.due_at)
            .limit(1)
            # Everybody locks the job before its message, so that no two wait for each other.
            .with_for_update(skip_locked=True, of=jobs)
        )
        if full:
            query = query.where(outbox.c.project_id.not_in(full))
        if row := connection.execute(query).one_or_none():
            return (row.job_id, row.project_id)
    return None


def remove(connection: Connection, job_id: str) -> None:
    """Forget the job's message: it was claimed or cancelled."""
    connection.execute(delete(outbox).where(outbox.c.job_id == job_id))


def stranded(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of jobs that no worker can take as things are and that were not told so yet.

    They have been due for longer than `age`, and their class is unknown, has not been seen for
    that long, or is one of machines too small for them.
    """
    silent = worker_classes.c.seen_at.is_(None) | (worker_classes.c.seen_at < func.now() - age)
    room = func.greatest(worker_classes.c.memory_bytes, worker_classes.c.device_bytes)
    query = (
        select(jobs.c.id)
        .join(outbox, outbox.c.job_id == jobs.c.id)
        .outerjoin(worker_classes, worker_classes.c.worker_class == jobs.c.worker_class)
        .where(outbox.c.warned_at.is_(None), outbox.c.due_at < func.now() - age)
        .where(silent | (jobs.c.memory_bytes > room))
        .where(~quarantine.waits(Loop.WARN, jobs.c.id))
        .order_by(outbox.c.due_at)
        .limit(limit)
    )
    return connection.execute(query).scalars().all()


def note_stranded(connection: Connection, job_id: str) -> Job | None:
    """The job, locked, and noted as told; None where it waits no more or another process has it."""
    query = (
        select(jobs)
        .join(outbox, outbox.c.job_id == jobs.c.id)
        .where(jobs.c.id == job_id, outbox.c.warned_at.is_(None))
        .with_for_update(skip_locked=True, of=jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    told = update(outbox).where(outbox.c.job_id == job_id).values(warned_at=func.now())
    connection.execute(told)
    return to_job(row)


def move(connection: Connection, job_id: str, worker_class: str) -> None:
    """Have the job's message sent to the queue of another class."""
    query = update(outbox).where(outbox.c.job_id == job_id)
    connection.execute(query.values(sent_at=null(), warned_at=null(), worker_class=worker_class))
    connection.execute(_NOTIFY)


def adopt(connection: Connection, *, limit: int) -> int:
    """Give messages the worker class that their jobs have; returns how many had another, or none.

    Processes of the version before know no class here: they queue without one, and leave it as it
    was where they move a job. Claims look for the class alone as long as something is there.
    """
    others = (
        select(outbox.c.job_id)
        .join(jobs, jobs.c.id == outbox.c.job_id)
        .where(outbox.c.worker_class.is_distinct_from(jobs.c.worker_class))
        .limit(limit)
        .with_for_update(skip_locked=True, of=jobs)
    )
    query = update(outbox).where(outbox.c.job_id.in_(others), outbox.c.job_id == jobs.c.id)
    return connection.execute(query.values(worker_class=jobs.c.worker_class)).rowcount


class Message(NamedTuple):
    """What the broker is told of a job."""

    job_id: str
    worker_class: str
    origin: dict[str, str]


def due(connection: Connection, *, limit: int) -> Sequence[Message]:
    """Messages that are due and unsent, locked, the longest due first.

    Rows another relay holds are passed over.
    """
    query = (
        select(outbox.c.job_id, jobs.c.worker_class, jobs.c.origin)
        .join(jobs, jobs.c.id == outbox.c.job_id)
        .where(outbox.c.sent_at.is_(None), outbox.c.due_at <= func.now())
        .where(~quarantine.waits(Loop.RELAY, outbox.c.job_id))
        .order_by(outbox.c.due_at, outbox.c.job_id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=outbox)
    )
    return [Message(*row) for row in connection.execute(query)]


def mark_sent(connection: Connection, job_ids: Sequence[str]) -> None:
    """Record that the broker took these messages."""
    connection.execute(
        update(outbox).where(outbox.c.job_id.in_(job_ids)).values(sent_at=func.now())
    )


def send_again(connection: Connection, project_id: str) -> None:
    """Tell the broker once more that a job of the project waits: there is room for it now."""
    first = (
        select(outbox.c.job_id)
        .where(outbox.c.project_id == project_id, outbox.c.sent_at.is_not(None))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    query = update(outbox).where(outbox.c.job_id == first.scalar_subquery()).values(sent_at=null())
    if connection.execute(query).rowcount:
        wake(connection)


def _overdue(age: timedelta, full: Collection[str]) -> ColumnElement[bool]:
    waits = quarantine.waits(Loop.CLAIM, outbox.c.job_id)
    return (outbox.c.sent_at < func.now() - age) & outbox.c.project_id.not_in(full) & ~waits


def unclaimed_since(connection: Connection, age: timedelta, full: Collection[str]) -> Sequence[str]:
    """Worker classes with a message sent longer than `age` ago, though its project has room."""
    query = select(jobs.c.worker_class).join(outbox, outbox.c.job_id == jobs.c.id)
    return connection.execute(query.where(_overdue(age, full)).distinct()).scalars().all()


def forget_sent(
    connection: Connection, age: timedelta, full: Collection[str], classes: Collection[str]
) -> int:
    """Mark messages sent longer than `age` ago to these classes as unsent; returns how many."""
    theirs = select(jobs.c.id).where(jobs.c.id == outbox.c.job_id, jobs.c.worker_class.in_(classes))
    query = update(outbox).where(_overdue(age, full), theirs.exists()).values(sent_at=null())
    return connection.execute(query).rowcount


logger = logging.getLogger("secateur.api")

PAUSE = 0.05  # seconds


class Announcer:
    """A thread that sends the notification.

    In a submit's own transaction it would have commits wait for each other. Where the process dies
    before it is sent, or the database is away, the relay looks by itself.

    Attributes:
        news: to be set once jobs were stored and that is committed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.news, self._closing = Event(), Event()
        self._thread = Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self.news.set()
        self._thread.join()

    def _run(self) -> None:
        while self.news.wait() and not self._closing.is_set():
            self.news.clear()
            try:
                with self._engine.connect() as connection:
                    connection.execute(_NOTIFY)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("the relay is not woken: %s", error)
            self._closing.wait(PAUSE)
