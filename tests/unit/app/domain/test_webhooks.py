from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.webhooks import Candidate, Endpoint, EndpointState, Receipt, Shares, choose

SHARES = Shares(total=6, project=3, endpoint=2)
ENDPOINTS = [(project, f"{project}-{n}") for project in "abcd" for n in range(3)]


def candidates(pairs, prefix):
    return [Candidate(f"{prefix}{n}", endpoint, owner) for n, (owner, endpoint) in enumerate(pairs)]


SOME = st.lists(st.sampled_from(ENDPOINTS), max_size=30)


@given(SOME, SOME)
def test_no_share_is_exceeded_and_none_is_left_unused(waiting, under_way):
    due = candidates(waiting, "due")
    held = choose(candidates(under_way, "held"), [], SHARES)
    chosen = choose(due, held, SHARES)
    assert set(chosen) <= set(due)
    assert len(set(chosen)) == len(chosen)
    both = held + chosen
    projects = Counter(each.project_id for each in both)
    endpoints = Counter(each.endpoint_id for each in both)
    assert len(both) <= SHARES.total
    assert all(count <= SHARES.project for count in projects.values())
    assert all(count <= SHARES.endpoint for count in endpoints.values())
    if len(both) < SHARES.total:
        for each in set(due) - set(chosen):
            full = projects[each.project_id] == SHARES.project
            assert full or endpoints[each.endpoint_id] == SHARES.endpoint


def test_the_project_with_the_fewest_under_way_comes_first():
    held = candidates([("a", "a-0"), ("a", "a-1"), ("b", "b-0")], "held")
    due = candidates([("a", "a-2"), ("b", "b-1"), ("b", "b-2"), ("c", "c-0")], "due")
    chosen = choose(due, held, SHARES)
    assert [each.endpoint_id for each in chosen] == ["c-0", "b-1", "a-2"]


def test_of_one_endpoint_the_longest_due_comes_first():
    due = candidates([("a", "a-0")] * 3, "due")
    assert [each.id for each in choose(due, [], SHARES)] == ["due0", "due1"]


def test_what_is_under_way_counts_against_the_total():
    held = candidates([("a", "a-0"), ("b", "b-0"), ("c", "c-0")], "held")
    due = candidates([("d", f"d-{n % 3}") for n in range(9)] + [("a", "a-1")] * 9, "due")
    assert len(choose(due, held, Shares(total=5, project=9, endpoint=9))) == 2
    assert choose(due, held, Shares(total=3, project=9, endpoint=9)) == []
    assert choose(due, held, Shares(total=2, project=9, endpoint=9)) == []


def test_projects_take_turns_in_the_order_in_which_they_are_due():
    due = candidates([("b", "b-0"), ("b", "b-1"), ("a", "a-0"), ("a", "a-1")], "due")
    chosen = choose(due, [], Shares(total=9, project=9, endpoint=9))
    assert [each.endpoint_id for each in chosen] == ["b-0", "a-0", "b-1", "a-1"]


def test_the_shares_that_the_documentation_tells():
    assert Shares() == Shares(total=256, project=8, endpoint=4)


@pytest.mark.parametrize(
    ("enabled", "failing", "state"),
    [
        (True, False, EndpointState.ACTIVE),
        (True, True, EndpointState.FAILING),
        (False, False, EndpointState.DISABLED),
        (False, True, EndpointState.DISABLED),
    ],
)
def test_how_an_endpoint_does(enabled, failing, state):
    now = datetime.now(UTC)
    endpoint = Endpoint(
        id="whk_1",
        project_id="prj_1",
        url="https://a.example",
        events=frozenset(),
        enabled=enabled,
        disabled_reason=None,
        failing_since=now if failing else None,
        last_error=None,
        created_at=now,
    )
    assert endpoint.state is state


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        *((status, False) for status in (None, 0, 199, 300, 302, 404, 500)),
        *((status, True) for status in (200, 204, 299)),
    ],
)
def test_only_answers_of_success_are_accepted(status, accepted):
    assert Receipt(status).accepted is accepted


def test_a_receipt_says_why():
    assert Receipt(None, "no route").reason == "no route"
    assert Receipt(503).reason == "the receiver answered 503"


def test_a_receiver_that_is_gone_says_so():
    assert [Receipt(status).gone for status in (None, 404, 410, 500)] == [False, False, True, False]
