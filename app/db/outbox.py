"""The outbox: which jobs wait for a worker, and whether the broker was told.

Written in the transaction that queues a job, removed by the claim. A message lost or doubled
changes nothing: the row stays until the job is claimed, and a second claim finds nothing.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, delete, func, null, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import outbox

CHANNEL = "secateur_outbox"


def add(connection: Connection, job_id: str, *, delay: timedelta = timedelta(0)) -> None:
    """Have the job's message sent, `delay` from now; a waiting relay wakes on commit."""
    due = func.now() + delay
    row = insert(outbox).values(job_id=job_id, due_at=due)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[outbox.c.job_id], set_={"due_at": due, "sent_at": null()}
        )
    )
    connection.execute(text(f"NOTIFY {CHANNEL}"))


def remove(connection: Connection, job_id: str) -> None:
    """Forget the job's message: it was claimed or cancelled."""
    connection.execute(delete(outbox).where(outbox.c.job_id == job_id))


def due(connection: Connection, *, limit: int) -> Sequence[str]:
    """Job ids whose message is due and unsent, locked; rows another relay holds are passed over."""
    query = (
        select(outbox.c.job_id)
        .where(outbox.c.sent_at.is_(None), outbox.c.due_at <= func.now())
        .order_by(outbox.c.due_at, outbox.c.job_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(query).scalars().all()


def mark_sent(connection: Connection, job_ids: Sequence[str]) -> None:
    """Record that the broker took these messages."""
    connection.execute(
        update(outbox).where(outbox.c.job_id.in_(job_ids)).values(sent_at=func.now())
    )


def unclaimed_since(connection: Connection, age: timedelta) -> bool:
    """Is there a message that was sent longer than `age` ago and is still unclaimed?"""
    query = select(outbox.c.job_id).where(outbox.c.sent_at < func.now() - age).limit(1)
    return connection.execute(query).first() is not None


def forget_sent(connection: Connection, age: timedelta) -> int:
    """Mark messages sent longer than `age` ago as unsent; returns how many."""
    query = update(outbox).where(outbox.c.sent_at < func.now() - age).values(sent_at=null())
    return connection.execute(query).rowcount
