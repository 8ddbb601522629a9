"""Deliveries: which are due, who makes them, and what comes of them."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db import webhooks as stored
from app.db.tables import deliveries as table
from app.db.tables import quarantine, webhooks
from app.db.webhooks import LEASE
from app.domain.webhooks import Candidate, DeliveryState, Receipt, Shares, WebhookEvent
from app.ids import id_at

DEFAULT, SECOND = "prj_default", timedelta(seconds=1)


@pytest.fixture
def endpoint(rows):
    def make(name, project=DEFAULT, **columns):
        told = {"url": f"https://{name}", "events": [], "secret": f"whsec_{name}"} | columns
        rows.add(webhooks, id=name, project_id=project, **told)
        return name

    return make


@pytest.fixture
def message(connection):
    """Makes a message to an endpoint that is due since so many seconds."""

    def make(endpoint_id, since=1, **columns):
        before = set(ids(connection))
        stored.queue_deliveries(connection, [endpoint_id], WebhookEvent.FAILED, {"n": 1})
        [made] = set(ids(connection)) - before
        put(connection, made, **{"next_at": func.now() - since * SECOND} | columns)
        return made

    return make


def ids(connection):
    return connection.execute(select(table.c.id)).scalars().all()


def put(connection, message_id, **columns):
    connection.execute(update(table).where(table.c.id == message_id).values(**columns))


def of(connection, message_id):
    return connection.execute(select(table).where(table.c.id == message_id)).one()


def due(connection, **shares):
    wide = {"total": 99, "project": 99, "endpoint": 99}
    return [each.id for each in stored.due_deliveries(connection, Shares(**wide | shares))]


def test_a_message_is_queued_to_each_endpoint_at_once(connection, rows, endpoint):
    endpoint("a")
    endpoint("b")
    stored.queue_deliveries(connection, ["a", "b"], WebhookEvent.FAILED, {"n": 1})
    queued = connection.execute(select(table).order_by(table.c.endpoint_id)).all()
    assert [row.endpoint_id for row in queued] == ["a", "b"]
    assert {(row.event, row.state, row.attempts) for row in queued} == {
        ("job.failed", "pending", 0)
    }
    assert {row.next_at for row in queued} == {rows.now}
    assert set(due(connection)) == {row.id for row in queued}


def test_what_is_due_is_the_longest_due_first(connection, endpoint, message):
    endpoint("a")
    second, first, now = message("a", 5), message("a", 9), message("a", 0)
    message("a", -1)
    message("a", next_at=None)
    assert due(connection) == [first, second, now]
    [candidate, *_] = stored.due_deliveries(connection, Shares())
    assert candidate == Candidate(first, "a", DEFAULT)


def test_nobodys_backlog_hides_what_is_due_for_others(connection, rows, endpoint, message):
    for name in ("a", "b"):
        endpoint(name)
    endpoint("theirs", rows.project("other"))
    a = [message("a", 90 - n) for n in range(4)]
    b = [message("b", 50 - n) for n in range(4)]
    other = [message("theirs", 9 - n) for n in range(2)]
    assert due(connection, endpoint=2) == [*a[:2], *b[:2], *other]
    assert due(connection, endpoint=2, project=3) == [*a[:2], b[0], *other]
    assert due(connection, project=1) == [a[0], other[0]]


def test_disabled_endpoints_and_what_is_set_aside_get_nothing(connection, rows, endpoint, message):
    endpoint("off", enabled=False)
    endpoint("on")
    message("off")
    waits, again = message("on", 3), message("on", 2)
    for item, pause in ((waits, SECOND), (again, -SECOND)):
        told = {"failures": 1, "reason": "x", "next_at": rows.now + pause}
        rows.add(quarantine, loop="deliver", item=item, **told)
    assert due(connection) == [again]


def test_a_message_is_taken_by_one(connection, rows, endpoint, message):
    endpoint("a")
    first, other = message("a"), message("a")
    late, done = message("a", -1), message("a", next_at=None)
    assert stored.take_delivery(connection, late) is None
    assert stored.take_delivery(connection, done) is None
    taken = stored.take_delivery(connection, first)
    assert (taken.id, taken.endpoint_id, taken.attempts) == (first, "a", 1)
    assert (taken.url, taken.payload) == ("https://a", {"n": 1})
    assert of(connection, first).next_at == rows.now + LEASE
    assert (of(connection, other).attempts, of(connection, late).attempts) == (0, 0)
    assert stored.take_delivery(connection, first) is None
    assert timedelta(seconds=60) == LEASE


def test_what_another_process_takes_is_passed_over(connection, engine, endpoint, message):
    endpoint("a")
    first, second = message("a"), message("a")
    connection.commit()
    try:
        with engine.connect() as other:
            assert stored.take_delivery(other, first).id == first
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            assert stored.take_delivery(connection, first) is None
            assert stored.take_delivery(connection, second).id == second
    finally:
        connection.rollback()
        connection.execute(webhooks.delete())
        connection.commit()


@pytest.mark.parametrize(
    ("until", "secrets"),
    [(SECOND, ("whsec_a", "old")), (timedelta(0), ("whsec_a",)), (-SECOND, ("whsec_a",))],
)
def test_an_old_secret_signs_along_until_its_end(
    connection, rows, endpoint, message, until, secrets
):
    endpoint("a", old_secret="old", old_secret_until=rows.now + until)
    taken = stored.take_delivery(connection, message("a"))
    assert taken.secrets == secrets


def test_an_attempt_that_was_broken_off_did_not_count(connection, rows, endpoint, message):
    endpoint("a")
    first, other = message("a"), message("a")
    taken = stored.take_delivery(connection, first)
    untouched = stored.take_delivery(connection, other)
    stored.release_deliveries(connection, [taken])
    assert (of(connection, first).attempts, of(connection, first).next_at) == (0, rows.now)
    assert of(connection, other).attempts == untouched.attempts == 1
    stored.release_deliveries(connection, [taken])
    assert of(connection, first).attempts == 0, "it is another attempt's by now"


@pytest.mark.parametrize("pause", [None, timedelta(seconds=30)])
def test_what_came_of_an_attempt_is_noted(connection, rows, endpoint, message, pause):
    endpoint("a")
    first, other = message("a"), message("a")
    taken = stored.take_delivery(connection, first)
    state = DeliveryState.PENDING if pause else DeliveryState.FAILED
    assert stored.settle_delivery(connection, taken, Receipt(500, "oops"), state, pause)
    row = of(connection, first)
    assert (row.state, row.last_status, row.last_error) == (state, 500, "oops")
    assert row.next_at == (rows.now + pause if pause else None)
    assert of(connection, other).last_status is None


def test_the_outcome_of_an_earlier_attempt_comes_too_late(connection, endpoint, message):
    endpoint("a")
    first = message("a")
    stale = stored.take_delivery(connection, first)
    put(connection, first, next_at=func.now())
    taken = stored.take_delivery(connection, first)
    receipt = Receipt(204)
    assert not stored.settle_delivery(connection, stale, receipt, DeliveryState.DELIVERED, None)
    assert of(connection, first).state == "pending"
    assert stored.settle_delivery(connection, taken, receipt, DeliveryState.DELIVERED, None)
    assert not stored.settle_delivery(connection, taken, receipt, DeliveryState.FAILED, None)
    assert of(connection, first).state == "delivered"


def test_deliveries_are_listed_newest_first(connection, endpoint, message):
    endpoint("a")
    endpoint("b")
    made = [message("a") for _ in range(3)]
    message("b")

    def page(limit=9, before=None):
        return [
            each.id for each in stored.delivery_page(connection, "a", limit=limit, before=before)
        ]

    assert page() == made[::-1]
    assert page(limit=2) == [made[2], made[1]]
    assert page(before=made[1]) == [made[0]]
    [newest, *_] = stored.delivery_page(connection, "a", limit=1, before=None)
    assert (newest.event, newest.state) == (WebhookEvent.FAILED, DeliveryState.PENDING)
    assert (type(newest.event), type(newest.state)) == (WebhookEvent, DeliveryState)


def test_old_messages_are_forgotten_the_oldest_first(connection, rows, endpoint, message):
    endpoint("a")
    day = timedelta(days=1)
    old = []
    for days in (5, 4, 3):
        old.append(message("a"))
        new = id_at("msg", rows.now, -days * day)
        put(connection, old[-1], id=new)
        old[-1] = new
    young = message("a")
    assert stored.forget_old_deliveries(connection, 3.5 * day, limit=1) == 1
    assert set(ids(connection)) == {old[1], old[2], young}
    assert stored.forget_old_deliveries(connection, 3.5 * day, limit=9) == 1
    assert stored.forget_old_deliveries(connection, 3.5 * day, limit=9) == 0
    assert set(ids(connection)) == {old[2], young}


def test_a_delivery_may_be_started_over(connection, rows, endpoint, message):
    endpoint("a")
    first = message("a", next_at=None, state="failed", attempts=10)
    other = message("a", next_at=None, state="failed", attempts=10)
    assert stored.replay_delivery(connection, "b", first) is None
    again = stored.replay_delivery(connection, "a", first)
    assert (again.state, again.attempts) == (DeliveryState.PENDING, 0)
    assert of(connection, first).next_at == rows.now
    assert of(connection, other).state == "failed"


def test_an_endpoint_is_locked_by_itself(connection, rows, endpoint, engine):
    one, other = endpoint("one"), endpoint("two")
    connection.commit()
    try:
        with engine.connect() as changing, engine.connect() as waiting:
            stored.lock(changing, one)
            waiting.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            stored.lock(waiting, other)
            stored.queue_deliveries(waiting, [one], WebhookEvent.FAILED, {})  # may come meanwhile
            with pytest.raises(Exception, match="lock timeout"):
                stored.lock(waiting, one)
    finally:
        connection.execute(webhooks.delete())
        connection.commit()


def test_an_endpoint_is_disabled_once(connection, endpoint):
    one = endpoint("one")
    found = stored.disable(connection, one, "gone")
    assert (found.id, found.enabled, found.disabled_reason) == (one, False, "gone")
    assert stored.disable(connection, one, "again") is None
    assert stored.disable(connection, "whk_none", "gone") is None


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "last", "too_long"),
    [
        (None, None, False),
        (DAY, SECOND, False),
        (3 * DAY, SECOND, False),  # as long as its patience, and no longer
        (3 * DAY + SECOND, SECOND, True),
        (9 * DAY, 2 * DAY, True),
        (9 * DAY, 2 * DAY + SECOND, False),  # another outage
    ],
)
def test_an_endpoint_that_fails_for_longer_than_its_patience(
    connection, rows, endpoint, since, last, too_long
):
    one = endpoint(
        "one",
        failing_since=None if since is None else rows.now - since,
        failed_at=None if last is None else rows.now - last,
    )
    assert stored.failed(connection, one, "no route", 3 * DAY) is too_long
    row = connection.execute(select(webhooks).where(webhooks.c.id == one)).one()
    assert (row.failed_at, row.last_error) == (rows.now, "no route")


def test_an_attempt_whose_message_somebody_holds_is_not_given_back(
    connection, engine, endpoint, message
):
    """It is being removed with its endpoint."""
    endpoint("a")
    one = message("a")
    taken = stored.take_delivery(connection, one)
    connection.commit()
    try:
        with engine.connect() as holder, engine.connect() as other:
            holder.execute(select(table).where(table.c.id == one).with_for_update())
            other.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            stored.release_deliveries(other, [taken])
            assert of(other, one).attempts == 1
            holder.rollback()
            stored.release_deliveries(other, [taken])
            assert of(other, one).attempts == 0
    finally:
        connection.execute(webhooks.delete())
        connection.commit()


def test_an_old_message_that_somebody_holds_is_left_to_them(connection, engine, endpoint, message):
    endpoint("a")
    one = message("a")
    connection.commit()
    try:
        with engine.connect() as holder, engine.connect() as other:
            holder.execute(select(table).where(table.c.id == one).with_for_update())
            other.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            assert stored.forget_old_deliveries(other, -DAY, limit=9) == 0
            holder.rollback()
            assert stored.forget_old_deliveries(other, -DAY, limit=9) == 1
    finally:
        connection.execute(webhooks.delete())
        connection.commit()
