"""A child that cannot start says why once, tries again, and takes nothing meanwhile."""

import logging
from types import SimpleNamespace

import pytest

from workers.runtime import starting
from workers.runtime.starting import Gate, Health, start_until_it_works


class Start:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.undone = 0

    def __call__(self):
        if self.errors:
            raise self.errors.pop(0)

    def undo(self):
        self.undone += 1


@pytest.fixture
def waits():
    return []


def said(caplog):
    return [each.message for each in caplog.records if each.levelno >= logging.ERROR]


def test_it_tries_until_it_works(waits, caplog):
    health, start = Health(), Start(*[OSError(28, "No space left on device")] * 8)
    seen = []

    def pause(seconds):
        waits.append(seconds)
        seen.append(health.problem())

    start_until_it_works(start, start.undo, health, pause)
    assert health.problem() == ""
    assert set(seen) == {"this worker cannot start: OSError: [Errno 28] No space left on device"}
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert start.undone == 8
    assert len(said(caplog)) == 1


def test_another_reason_is_said_and_the_same_by_another_child_is_not(waits, caplog):
    health = Health()
    start = Start(OSError("disk"), OSError("disk"), ConnectionError("database"))
    start_until_it_works(start, start.undo, health, waits.append)
    assert [message.split(": ")[-1].partition(";")[0] for message in said(caplog)] == [
        "disk",
        "database",
    ]
    health.set("this worker cannot start: OSError: disk")
    start = Start(OSError("disk"))
    start_until_it_works(start, start.undo, health, waits.append)
    assert len(said(caplog)) == 2


def test_what_cannot_be_undone_does_not_hide_the_reason(waits):
    health = Health()

    def undo():
        raise RuntimeError

    def pause(_seconds):
        assert "disk" in health.problem()

    start_until_it_works(Start(OSError("disk")), undo, health, pause)


def test_a_long_reason_is_cut(waits):
    health = Health()
    health.set("ä" * 10**5)
    assert 1000 < len(health.problem()) < 10**5
    health.set("")
    assert health.problem() == ""


def test_no_message_is_fetched_before_a_child_is_ready(monkeypatch):
    health = Health()
    monkeypatch.setattr(starting, "health", health)
    room = [True]
    qos = SimpleNamespace(can_consume=lambda: room[0])
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(channel=SimpleNamespace(qos=qos)))
    Gate.start(SimpleNamespace(), consumer)
    assert not qos.can_consume()
    health.set("")
    assert qos.can_consume()
    room[0] = False
    assert not qos.can_consume()
