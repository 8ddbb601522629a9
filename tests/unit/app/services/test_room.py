"""Room for jobs that is known without counting: for a second, a part of it, one set of limits."""

from dataclasses import replace

import pytest

from app.domain.access import Caller, Limits, Scope
from app.services.room import Room

CALLER = Caller("key_1", "prj_1", Scope.SUBMIT, Limits(queued_jobs=100))
OTHER = replace(CALLER, project_id="prj_2")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_nothing_is_known_of_a_project_that_was_not_counted(clock):
    room = Room()
    assert not room.take(CALLER, 1)
    room.learn(OTHER, 80)
    assert not room.take(CALLER, 1)
    assert room.take(OTHER, 1)


@pytest.mark.parametrize(("free", "part"), [(80, 10), (15, 1), (7, 0)])
def test_an_eighth_of_what_is_free_may_be_taken(clock, free, part):
    room = Room()
    room.learn(CALLER, free)
    assert [room.take(CALLER, 1) for _ in range(part + 2)] == [True] * part + [False] * 2


def test_many_are_taken_at_once_or_not_at_all(clock):
    room = Room()
    room.learn(CALLER, 80)
    assert room.take(CALLER, 6)
    assert room.take(CALLER, 4)
    room.learn(CALLER, 80)
    assert not room.take(CALLER, 11)
    assert not room.take(CALLER, 1), "who was refused counts anew"


def test_it_is_known_for_a_second(clock):
    room = Room()
    room.learn(CALLER, 80)
    clock[0] = 101.0
    assert room.take(CALLER, 1)
    clock[0] = 101.001
    assert not room.take(CALLER, 1)


def test_new_limits_make_it_void(clock):
    room = Room()
    room.learn(CALLER, 80)
    assert not room.take(replace(CALLER, limits=Limits(queued_jobs=1)), 1)
