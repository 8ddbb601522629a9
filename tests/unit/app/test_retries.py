"""Tries end with the first success, the first error that does not pass, or the time."""

import pytest

from app import retries
from app.retries import retried


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retries, "time", clock)
    return clock


def failing(times, error=ConnectionError):
    calls = []

    def work():
        calls.append(1)
        if len(calls) <= times:
            raise error("away")
        return len(calls)

    return work


def passes(error):
    return isinstance(error, ConnectionError)


def test_what_passes_is_tried_until_it_works(clock):
    assert retried(failing(5), passes, seconds=60, pause=clock.sleep) == 6


def test_waits_grow_and_the_whole_is_bounded(clock):
    waits = []

    def pause(seconds):
        waits.append(seconds)
        clock.sleep(seconds)

    with pytest.raises(ConnectionError):
        retried(failing(10**6), passes, seconds=60, pause=pause)
    assert clock.now <= 60
    assert max(waits) <= 5
    assert waits[0] < 0.1
    assert len(waits) < 40


def test_other_errors_are_raised_at_once(clock):
    work = failing(1, ValueError)
    with pytest.raises(ValueError, match="away"):
        retried(work, passes, seconds=60, pause=clock.sleep)
    assert work() == 2


def test_a_pause_may_end_the_tries(clock):
    def pause(_seconds):
        raise KeyError

    with pytest.raises(KeyError):
        retried(failing(3), passes, seconds=60, pause=pause)


def test_no_patience_means_one_try(clock):
    work = failing(1)
    with pytest.raises(ConnectionError):
        retried(work, passes, seconds=0, pause=clock.sleep)
    assert work() == 2
