"""Work in a thread beside the pipeline's, so that whoever waits for it can be stopped.

For downloads, uploads and copies: calls into libraries that nobody can interrupt. Nothing of torch
belongs here.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Protocol, TypeVar

T = TypeVar("T")

_NAME = "beside"
_LOOK = 0.05  # seconds between two looks at whether it is done
_GRACE = 5.0  # seconds for work that was stopped to end by itself


class Waiting(Protocol):
    """Whoever is told that we wait."""

    def wait(self, seconds: float) -> None:
        """Wait, or raise `StoppedError`."""


def beside(work: Callable[[], T], report: Waiting) -> T:
    """What `work` returns or raises; where the wait is stopped, the thread is left to itself.

    Raises:
        StoppedError: the reporter said so.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  it is raised where the result is wanted
            future.set_exception(error)

    # Its log lines carry the ids that are bound here.
    thread = threading.Thread(target=copy_context().run, args=(run,), name=_NAME, daemon=True)
    thread.start()
    try:
        while wait([future], timeout=_LOOK).not_done:
            report.wait(0)
    except BaseException:
        thread.join(_GRACE)
        raise
    return future.result()


def left_running() -> bool:
    """Whether work that was stopped still goes on: this process is no longer as good as new."""
    return any(thread.name == _NAME for thread in threading.enumerate())
