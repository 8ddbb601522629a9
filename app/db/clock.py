"""The database's clock, by which everything that waits is timed, may be set back.

What was to happen soon then lies far in the future: a job that is due, a message that counts as
sent just now, a lease of a worker that is gone. The latest time told is kept, so that going back is
noticed, and what waits is brought forward by as much.
"""

from datetime import timedelta

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import (
    NEVER,
    clock,
    deliveries,
    jobs,
    outbox,
    publications,
    quarantine,
    worker_classes,
    workers,
)

NOTICED = timedelta(seconds=2)
"""Smaller steps than this change nothing that matters."""

RENEWED = timedelta(minutes=1)
"""A living worker renews its lease in this time."""

_PAUSES = (deliveries.c.next_at, publications.c.next_at, quarantine.c.next_at, outbox.c.due_at)
_PAST = (
    outbox.c.sent_at,
    worker_classes.c.seen_at,
    workers.c.seen_at,
    jobs.c.attempt_started_at,
)


def watch(connection: Connection) -> timedelta:
    """Note the time; where it is earlier than it was, bring forward what waits.

    A job's time limit stays as it is: the job may run longer, never shorter than it was promised.

    Returns:
        How far the clock went back since the last call of anybody; zero where it did not.
    """
    locked = select(clock.c.latest, (clock.c.latest - func.now()).label("back")).with_for_update()
    row = connection.execute(locked).one_or_none()
    if row is None:
        first = insert(clock).values(id=1, latest=func.now())
        connection.execute(first.on_conflict_do_nothing())
        return timedelta(0)
    connection.execute(update(clock).values(latest=func.now()))
    back: timedelta = row.back
    if back <= NOTICED:
        return timedelta(0)
    for moment in _PAUSES:
        later = (moment > func.now()) & (moment < NEVER)
        sooner = func.greatest(moment - back, func.now())
        connection.execute(update(moment.table).where(later).values({moment.name: sooner}))
    for moment in _PAST:
        ahead = update(moment.table).where(moment > func.now())
        connection.execute(ahead.values({moment.name: func.now()}))
    lease, soon = jobs.c.lease_expires_at, func.now() + RENEWED
    connection.execute(update(jobs).where(lease > soon).values(lease_expires_at=soon))
    return back
