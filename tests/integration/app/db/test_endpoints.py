"""Webhook endpoints: each call finds, counts and changes those it names, and no others."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.db import webhooks as stored
from app.db.tables import deliveries, webhooks
from app.domain.webhooks import WebhookEvent

DEFAULT, DAY = "prj_default", timedelta(days=1)
FAILED, SUCCEEDED = WebhookEvent.FAILED, WebhookEvent.SUCCEEDED


@pytest.fixture
def create(connection):
    def make(name, project=DEFAULT, events=(FAILED,)):
        told = {"url": f"https://{name}", "events": events, "secret": f"whsec_{name}"}
        return stored.create(connection, project, **told)

    return make


@pytest.fixture
def theirs(rows, create):
    """An endpoint of another project."""
    return create("theirs", rows.project("other"))


def of(connection, endpoint_id):
    return connection.execute(select(webhooks).where(webhooks.c.id == endpoint_id)).one()


def put(connection, endpoint_id, **columns):
    connection.execute(webhooks.update().where(webhooks.c.id == endpoint_id).values(**columns))


def test_an_endpoint_is_stored_as_it_was_asked_for(connection, rows, create):
    made = create("a", events=(FAILED, SUCCEEDED))
    assert made.id.startswith("whk_")
    assert (made.project_id, made.url) == (DEFAULT, "https://a")
    assert made.events == {FAILED, SUCCEEDED}
    assert {type(event) for event in made.events} == {WebhookEvent}
    assert (made.enabled, made.disabled_reason) == (True, None)
    assert (made.failing_since, made.last_error, made.created_at) == (None, None, rows.now)
    assert of(connection, made.id).secret == "whsec_a"


def test_a_project_finds_its_own_endpoints_alone(connection, create, theirs):
    first, second = create("a"), create("b")
    assert stored.listing(connection, DEFAULT) == [second, first]
    assert stored.count(connection, DEFAULT) == 2
    assert stored.get(connection, DEFAULT, first.id) == first
    assert stored.get(connection, DEFAULT, second.id) == second
    assert stored.get(connection, DEFAULT, theirs.id) is None
    assert stored.get(connection, theirs.project_id, theirs.id) == theirs
    assert stored.listing(connection, "prj_none") == []
    assert stored.count(connection, "prj_none") == 0


def test_those_that_want_to_know_are_told(connection, create, theirs):
    both, one = create("a", events=(FAILED, SUCCEEDED)), create("b")
    off = create("c")
    stored.disable(connection, off.id, "gone")
    assert set(stored.interested(connection, DEFAULT, FAILED)) == {both.id, one.id}
    assert stored.interested(connection, DEFAULT, SUCCEEDED) == [both.id]
    assert stored.interested(connection, theirs.project_id, FAILED) == [theirs.id]


def test_a_changed_endpoint_begins_anew(connection, create):
    changed, other = create("a"), create("b")
    for each in (changed, other):
        stored.failed(connection, each.id, "no route", DAY)
        stored.disable(connection, each.id, "it failed")
    found = stored.change(connection, changed.id, url="https://new", enabled=True)
    assert (found.id, found.url, found.enabled) == (changed.id, "https://new", True)
    assert (found.disabled_reason, found.failing_since, found.last_error) == (None, None, None)
    assert of(connection, changed.id).failed_at is None
    left = of(connection, other.id)
    assert (left.url, left.enabled, left.disabled_reason) == ("https://b", False, "it failed")
    assert left.last_error == "no route"


def test_a_new_secret_signs_and_the_one_before_signs_along(connection, rows, create):
    rotated, other = create("a"), create("b")
    stored.rotate(connection, rotated.id, "whsec_new", DAY)
    row = of(connection, rotated.id)
    assert (row.secret, row.old_secret) == ("whsec_new", "whsec_a")
    assert row.old_secret_until == rows.now + DAY
    left = of(connection, other.id)
    assert (left.secret, left.old_secret, left.old_secret_until) == ("whsec_b", None, None)


def test_an_endpoint_that_takes_a_message_is_well_again(connection, create):
    well, other = create("a"), create("b")
    for each in (well, other):
        stored.failed(connection, each.id, "no route", DAY)
    stored.succeeded(connection, well.id)
    row, left = of(connection, well.id), of(connection, other.id)
    assert (row.failing_since, row.failed_at, row.last_error) == (None, None, None)
    assert (left.last_error, left.failing_since) == ("no route", left.failed_at)
    put(connection, well.id, last_error="of before")
    stored.succeeded(connection, well.id)
    assert of(connection, well.id).last_error == "of before", "nothing is written without need"


def test_failures_of_one_outage_count_from_the_first(connection, rows, create):
    failing, other = create("a"), create("b")
    began = rows.now - DAY
    put(connection, failing.id, failing_since=began, failed_at=rows.now - DAY / 2)
    assert not stored.failed(connection, failing.id, "no route", 2 * DAY)
    assert of(connection, failing.id).failing_since == began
    assert of(connection, other.id).failing_since is None
    put(connection, failing.id, failed_at=rows.now - 3 * DAY)
    assert not stored.failed(connection, failing.id, "no route", 2 * DAY)
    assert of(connection, failing.id).failing_since == rows.now
    assert not stored.failed(connection, "whk_none", "no route", -DAY)


def test_an_endpoint_goes_with_its_deliveries(connection, create):
    gone, left = create("a"), create("b")
    stored.queue_deliveries(connection, [gone.id, left.id], FAILED, {"n": 1})
    stored.remove(connection, gone.id)
    assert stored.listing(connection, DEFAULT) == [left]
    assert connection.execute(select(deliveries.c.endpoint_id)).scalars().all() == [left.id]


def test_one_endpoint_is_disabled_and_not_the_others(connection, create):
    gone, left = create("a"), create("b")
    stored.disable(connection, gone.id, "gone")
    assert stored.get(connection, DEFAULT, left.id) == left
    assert connection.execute(select(func.count()).where(webhooks.c.enabled)).scalar_one() == 1
