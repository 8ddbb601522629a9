"""The database's clock goes back: what waits is brought forward, and nothing else changes."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db import clock, outbox
from app.db.tables import NEVER, quarantine
from app.db.tables import clock as table
from app.db.tables import outbox as messages

HOUR = timedelta(hours=1)
NONE = timedelta(0)


@pytest.fixture
def set_back(connection):
    """Look after the clock has been so much later."""
    assert clock.watch(connection) == NONE

    def back(by=HOUR):
        connection.execute(update(table).values(latest=func.now() + by))
        return clock.watch(connection)

    return back


@pytest.fixture
def waiting(rows):
    """A job whose message has these columns; gives a column's distance from now."""

    def made(**columns):
        job_id = rows.job()
        outbox.add(rows.connection, rows.get(job_id))
        of_job = messages.c.job_id == job_id
        rows.connection.execute(update(messages).where(of_job).values(columns))
        return lambda name: rows.connection.execute(
            select(messages.c[name] - func.now()).where(of_job)
        ).scalar_one()

    return made


@pytest.mark.parametrize("by", [-HOUR, NONE, clock.NOTICED])
def test_a_clock_that_goes_on_changes_nothing(waiting, set_back, by):
    distance = waiting(due_at=func.now() + HOUR, sent_at=func.now() + HOUR)
    assert set_back(by) == NONE
    assert (distance("due_at"), distance("sent_at")) == (HOUR, HOUR)


def test_what_was_due_then_is_due_now(waiting, set_back):
    distance = waiting(due_at=func.now() + HOUR, sent_at=func.now() + HOUR)
    assert set_back() == HOUR
    assert (distance("due_at"), distance("sent_at")) == (NONE, NONE)
    assert set_back(NONE) == NONE  # once


def test_a_pause_stays_a_pause(waiting, set_back):
    distance = waiting(due_at=func.now() + 3 * HOUR)
    set_back()
    assert distance("due_at") == 2 * HOUR


def test_who_waits_for_a_leader_goes_on_waiting(rows, waiting, set_back):
    waiting(due_at=NEVER)
    set_back()
    assert rows.connection.execute(select(messages.c.due_at == NEVER)).scalars().all() == [True]


def test_what_was_set_aside_is_tried_again_in_time(rows, set_back):
    rows.add(
        quarantine,
        loop="claim",
        item="a",
        reason="b",
        failures=1,
        failed_at=func.now() + HOUR,
        next_at=func.now() + HOUR,
    )
    set_back()
    next_at = select(quarantine.c.next_at <= func.now())
    assert rows.connection.execute(next_at).scalars().all() == [True]


def test_a_lease_of_then_ends_soon_and_no_time_limit_is_cut(rows, set_back):
    late = {name: func.now() + HOUR for name in ("lease_expires_at", "attempt_started_at")}
    job_id = rows.job(status="running", deadline=func.now() + 2 * HOUR, **late)
    set_back()
    found = rows.of(job_id)
    assert found.lease_expires_at == rows.now + clock.RENEWED
    assert found.attempt_started_at == rows.now
    assert found.deadline == rows.now + 2 * HOUR


def test_a_lease_that_was_renewed_stays(rows, set_back):
    job_id = rows.job(status="running", lease_expires_at=func.now() + clock.RENEWED / 2)
    set_back()
    assert rows.of(job_id).lease_expires_at == rows.now + clock.RENEWED / 2
