"""A child is ended for one of four reasons, each after its time and never before."""

import pytest

from app.domain.jobs import Lease
from workers.rights import Reason, Rights, Task

TASK = Task("job_1", 1)


@pytest.fixture
def rights():
    return Rights(bound=30, drain=5, stall=600)


def test_an_idle_child_is_left_alone(rights):
    assert rights.due(1e9) is None
    rights.begins(TASK, 0)
    rights.ends()
    assert rights.due(1e9) is None


@pytest.mark.parametrize(
    ("lease", "reason"), [(Lease.CANCEL_REQUESTED, Reason.CANCELLED), (Lease.LOST, Reason.LOST)]
)
def test_a_right_that_ended_is_enforced_after_the_bound(rights, lease, reason):
    rights.begins(TASK, 0)
    rights.looked(TASK, Lease.HELD, 100)
    for now in (101, 129):
        rights.looked(TASK, lease, now)
        rights.moves(now)  # it works on, and should not
        assert rights.due(now) is None
    assert rights.due(130) is reason


def test_a_right_that_comes_back_counts(rights):
    rights.begins(TASK, 0)
    rights.looked(TASK, Lease.LOST, 20)  # the lease ran out while the database was away
    rights.looked(TASK, Lease.HELD, 25)
    assert rights.due(54) is None
    rights.looked(TASK, Lease.LOST, 54)
    assert rights.due(54.9) is None
    assert rights.due(55) is Reason.LOST


def test_a_database_that_says_nothing_takes_no_right_away(rights):
    rights.begins(TASK, 0)
    rights.looked(TASK, Lease.LOST, 1)
    for now in range(2, 500):
        rights.looked(TASK, None, now)
        assert rights.due(now) is None


def test_what_was_seen_of_an_earlier_task_does_not_count(rights):
    rights.begins(TASK, 0)
    rights.ends()
    rights.begins(Task("job_1", 2), 100)
    rights.looked(TASK, Lease.LOST, 101)
    assert rights.due(200) is None


def test_a_child_without_progress_is_ended(rights):
    rights.begins(TASK, 0)
    rights.moves(300)
    assert rights.due(899) is None
    assert rights.due(900) is Reason.STALLED


def test_a_claim_that_never_returns_is_a_stall(rights):
    rights.begins(Task(), 0)
    assert rights.due(600) is Reason.STALLED


def test_long_steps_get_ten_times_their_time(rights):
    rights.begins(TASK, 0)
    rights.plans(100, 10)
    assert rights.due(1009) is None
    assert rights.due(1010) is Reason.STALLED
    rights.begins(Task("job_2", 1), 2000)
    assert rights.due(2600) is Reason.STALLED, "the plan was another job's"


def test_short_steps_get_the_least_time(rights):
    rights.begins(TASK, 0)
    rights.plans(1, 0)
    assert rights.due(599) is None
    assert rights.due(600) is Reason.STALLED


@pytest.mark.parametrize("busy", [True, False])
def test_a_drain_has_its_grace_and_counts_from_the_first_signal(rights, busy):
    if busy:
        rights.begins(TASK, 0)
    rights.asked_to_end(10)
    rights.asked_to_end(14)
    assert rights.due(14.9) is None
    assert rights.due(15) is Reason.DRAINED


def test_a_task_is_the_childs_own_unless_it_helps():
    assert Task("job_1", 1).own
    assert not Task("job_1", 1, own=False).own
    assert (Task().job_id, Task().attempt) == (None, 0)
