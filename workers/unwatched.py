"""The worker's parent ends a child that works without a watchdog, which nothing else could end.

A child whose watchdog has died starts another when it next gets further. One that hangs does not.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import psutil
from celery import bootsteps
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.asynchronous import Hub

logger = logging.getLogger("secateur.worker")

_LOOK = 5.0  # seconds between two looks
_WATCHDOG = "workers.watchdog"
_DEAD = {psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED, psutil.STATUS_DEAD}


class Unwatched:
    """Children that have been without a watchdog for too long."""

    def __init__(self, bound: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at nothing yet.

        Args:
            bound: seconds for which a child may be.
            clock: tells seconds.
        """
        self._bound, self._clock = bound, clock
        self._since: dict[int, float] = {}

    def due(self, watched: Mapping[int, bool]) -> list[int]:
        """Those of the children to end.

        Args:
            watched: whether each child, by its process id, has a watchdog now.
        """
        now = self._clock()
        self._since = {
            pid: self._since.get(pid, now) for pid, is_watched in watched.items() if not is_watched
        }
        return [pid for pid, since in self._since.items() if now >= since + self._bound]


def children() -> dict[int, bool]:
    """This process's children, and whether each has a watchdog."""
    return {child.pid: _is_watched(child) for child in psutil.Process().children()}


def _is_watched(child: psutil.Process) -> bool:
    try:
        return any(map(_is_watchdog, child.children()))
    except psutil.NoSuchProcess:
        return True  # it has ended


def _is_watchdog(process: psutil.Process) -> bool:
    try:
        return process.status() not in _DEAD and _WATCHDOG in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def guard(bound: float) -> type[bootsteps.StartStopStep]:
    """The step of Celery's consumer that looks after children.

    Args:
        bound: seconds for which a child may work without a watchdog.
    """

    class Guard(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        """Looks every few seconds."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def register_with_event_loop(self, _consumer: Consumer, hub: Hub) -> None:
            """Begin."""
            unwatched = Unwatched(bound)
            hub.call_repeatedly(_LOOK, lambda: _look(unwatched))  # type: ignore[no-untyped-call]

    return Guard


def _look(unwatched: Unwatched) -> None:
    # An idle child finds out with its next job, and one that starts has none yet.
    working = bool(state.active_requests)
    for pid in unwatched.due(children() if working else {}):
        logger.error("ending process %d: it works without a watchdog", pid)
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in (*process.children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):  # it may end meanwhile; the others go too
                    each.kill()
