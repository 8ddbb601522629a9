"""The append-only event logs of jobs and sweeps.

Ids grow along a log only because every writer holds its subject's row while it appends: it has
locked, updated or inserted that row before, in the same transaction. So nobody who reads on from
the last id he saw can miss an entry.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from app.db.tables import events, jobs
from app.domain.jobs import Event, EventLevel, EventType, NewEvent
from app.telemetry.redaction import scrub

# Told the subject's id whenever a transaction that appended has committed.
CHANNEL = "secateur_events"

_APPEND = insert(events)
_NOTIFY = select(func.pg_notify(CHANNEL, bindparam("subject_id")))


def append(connection: Connection, subject_id: str, attempt: int, new: Sequence[NewEvent]) -> None:
    """Add entries to the log of a job or sweep, in order."""
    if not new:
        return
    rows = [
        {
            "subject_id": subject_id,
            "attempt": attempt,
            "level": event.level,
            "type": event.type,
            "message": scrub(event.message),
            "data": event.data,
        }
        for event in new
    ]
    connection.execute(_APPEND, rows)
    connection.execute(_NOTIFY, {"subject_id": subject_id})


def append_to_ended(connection: Connection, job_id: str, new: NewEvent) -> None:
    """Add an entry to the log of a job that has ended; nothing where the job is gone."""
    query = select(jobs.c.attempt).where(jobs.c.id == job_id).with_for_update()
    attempt = connection.execute(query).scalar_one_or_none()
    if attempt is not None:
        append(connection, job_id, attempt, [new])


def page(connection: Connection, subject_id: str, *, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of a job or sweep that follow the event id `after`, in order."""
    query = (
        select(events)
        .where(events.c.subject_id == subject_id, events.c.id > after)
        .order_by(events.c.id)
        .limit(limit)
    )
    return [
        Event(
            id=row["id"],
            attempt=row["attempt"],
            at=row["at"],
            level=EventLevel(row["level"]),
            type=EventType(row["type"]),
            message=row["message"],
            data=row["data"],
        )
        for row in connection.execute(query).mappings()
    ]


def resume(connection: Connection, subject_id: str, seen: int, *, ended: bool) -> int | None:
    """Where a watcher that has seen the event `seen` goes on; None where nothing will follow."""
    query = select(func.coalesce(func.max(events.c.id), 0)).where(events.c.subject_id == subject_id)
    newest = int(connection.execute(query).scalar_one())
    return None if ended and seen >= newest else min(seen, newest)


def remove_logs(connection: Connection, subject_ids: Sequence[str]) -> None:
    """Remove the logs of jobs or sweeps that are deleted."""
    connection.execute(delete(events).where(events.c.subject_id.in_(subject_ids)))
