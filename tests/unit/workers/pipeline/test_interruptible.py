"""Waiting for work in a thread can be stopped, whatever the work does."""

import threading

import pytest

from app.errors import ModelLoadError
from workers.pipeline import context as module
from workers.pipeline.context import StoppedError, interruptible, left_running


class Patient:
    def wait(self, seconds): ...


class Cancelled:
    """Cancelled after some looks."""

    def __init__(self, looks):
        self.looks = looks

    def wait(self, seconds):
        self.looks -= 1
        if self.looks < 0:
            raise StoppedError


def test_results_and_errors_come_through():
    assert interruptible(lambda: 7, Patient()) == 7

    def fail():
        raise ModelLoadError("torn")

    with pytest.raises(ModelLoadError, match="torn"):
        interruptible(fail, Patient())
    assert not left_running()


def test_work_that_ends_when_it_is_told_leaves_nothing_behind():
    stop = threading.Event()

    class Telling(Cancelled):
        def wait(self, seconds):
            try:
                super().wait(seconds)
            except StoppedError:
                stop.set()
                raise

    with pytest.raises(StoppedError):
        interruptible(lambda: stop.wait(60), Telling(2))
    assert not left_running()


def test_work_that_goes_on_is_known(monkeypatch):
    monkeypatch.setattr(module, "_GRACE", 0.05)
    stop = threading.Event()
    with pytest.raises(StoppedError):
        interruptible(lambda: stop.wait(60), Cancelled(1))
    assert left_running()
    stop.set()
    for thread in threading.enumerate():
        if thread.name == "interruptible":
            thread.join()
    assert not left_running()
