"""Jobs that are known to be free without counting: for a second, a part, one set of limits."""

from dataclasses import replace

import pytest

from app.domain.projects import Caller, Limits, Scope
from app.services.projects.service import QuotaCache, check_quotas

CALLER = Caller("key_1", "prj_1", Scope.SUBMIT, Limits(queued_jobs=100))
OTHER = replace(CALLER, project_id="prj_2")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_nothing_is_known_of_a_project_that_was_not_counted(clock):
    room = QuotaCache()
    assert not room.take(CALLER, 1)
    room.learn(OTHER, 80)
    assert not room.take(CALLER, 1)
    assert room.take(OTHER, 1)


@pytest.mark.parametrize(("free", "part"), [(80, 10), (15, 1), (7, 0)])
def test_an_eighth_of_what_is_free_may_be_taken(clock, free, part):
    room = QuotaCache()
    room.learn(CALLER, free)
    assert [room.take(CALLER, 1) for _ in range(part + 2)] == [True] * part + [False] * 2


def test_many_are_taken_at_once_or_not_at_all(clock):
    room = QuotaCache()
    room.learn(CALLER, 80)
    assert room.take(CALLER, 6)
    assert room.take(CALLER, 4)
    room.learn(CALLER, 80)
    assert not room.take(CALLER, 11)
    assert not room.take(CALLER, 1), "who was refused counts anew"


def test_it_is_known_for_a_second(clock):
    room = QuotaCache()
    room.learn(CALLER, 80)
    clock[0] = 101.0
    assert room.take(CALLER, 1)
    clock[0] = 101.001
    assert not room.take(CALLER, 1)


def test_new_limits_make_it_void(clock):
    room = QuotaCache()
    room.learn(CALLER, 80)
    assert not room.take(replace(CALLER, limits=Limits(queued_jobs=1)), 1)


def test_what_is_known_to_be_free_is_not_counted(clock):
    room = QuotaCache()
    room.learn(CALLER, 80)
    check_quotas(None, CALLER, room, jobs=1)  # no database is asked
    with pytest.raises(AttributeError):
        check_quotas(None, OTHER, room, jobs=1)
