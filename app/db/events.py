"""The append-only event log of jobs.

Ids grow along a job's log only because every writer holds the job's row while it appends: it has
updated or inserted that row before, in the same transaction. So nobody who reads on from the last
id he saw can miss an entry.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select

from app.db.tables import events
from app.domain.jobs import Event, EventLevel, EventType, NewEvent

# Told the job's id whenever a transaction that appended has committed.
CHANNEL = "secateur_events"


def append(connection: Connection, job_id: str, attempt: int, new: Sequence[NewEvent]) -> None:
    """Add entries to the job's log, in order."""
    if not new:
        return
    rows = [
        {
            "job_id": job_id,
            "attempt": attempt,
            "level": event.level,
            "type": event.type,
            "message": event.message,
            "data": event.data,
        }
        for event in new
    ]
    connection.execute(insert(events), rows)
    connection.execute(select(func.pg_notify(CHANNEL, job_id)))


def page(connection: Connection, job_id: str, *, after: int, limit: int) -> list[Event]:
    """Up to `limit` events of the job that follow the event id `after`, in order."""
    query = (
        select(events)
        .where(events.c.job_id == job_id, events.c.id > after)
        .order_by(events.c.id)
        .limit(limit)
    )
    return [
        Event(
            id=row["id"],
            job_id=row["job_id"],
            attempt=row["attempt"],
            at=row["at"],
            level=EventLevel(row["level"]),
            type=EventType(row["type"]),
            message=row["message"],
            data=row["data"],
        )
        for row in connection.execute(query).mappings()
    ]


def newest(connection: Connection, job_id: str) -> int:
    """The id of the job's newest event; 0 where there is none."""
    query = select(func.coalesce(func.max(events.c.id), 0)).where(events.c.job_id == job_id)
    return int(connection.execute(query).scalar_one())
