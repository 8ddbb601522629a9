"""How a child starts: again and again until it has all that jobs need, taking no message before.

Whether it has is kept in a page of memory that the parent shares with the children it forks.
"""

import logging
import mmap
import time
from collections.abc import Callable

from celery import bootsteps
from celery.worker.consumer import Consumer
from kombu.asynchronous import Hub

from app.telemetry.redaction import scrub

logger = logging.getLogger("secateur.worker")

_FIRST, _LONGEST = 1.0, 60.0  # seconds between two tries
_LOOK = 0.25  # seconds after which the parent sees that its child is ready
_STARTING = "its child has not started yet"


class Health:
    """What keeps a worker from taking jobs, in words; nothing where it takes them."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self.set(_STARTING)

    def problem(self) -> str:
        """What is wrong; empty where nothing is."""
        return bytes(self._page).rstrip(b"\0").decode(errors="replace")

    def set(self, problem: str) -> None:
        """Tell the processes that share this what is wrong."""
        self._page[:] = problem.encode()[: len(self._page)].ljust(len(self._page), b"\0")


# Made before the parent forks.
health = Health()


def start_until_it_works(
    start: Callable[[], None],
    undo: Callable[[], None],
    health: Health,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return once `start` has.

    Args:
        start: makes what the child needs.
        undo: closes what a start that failed has made.
        health: told what is wrong.
        pause: waits for some seconds.
    """
    said, wait = health.problem(), _FIRST
    if not said:
        health.set(_STARTING)
    while True:
        try:
            start()
        except Exception as error:  # noqa: BLE001  whatever it is, a worker without it is none
            lines = str(error).strip().splitlines() or [""]
            problem = scrub(f"this worker cannot start: {type(error).__name__}: {lines[0]}")
            _guarded(undo)
        else:
            break
        health.set(problem)
        if problem != said:
            logger.error("%s; it takes no jobs and tries again", problem)
            said = problem
        pause(wait)
        wait = min(2 * wait, _LONGEST)
    health.set("")
    logger.info("this worker takes jobs")


def _guarded(undo: Callable[[], None]) -> None:
    try:
        undo()
    except Exception as error:  # noqa: BLE001  the reason why the start failed matters more
        logger.warning("cannot undo a start: %s", error)


class Gate(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Keeps the parent from taking messages off the broker while no child is ready."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Consumer) -> None:
        """The transport asks this before it fetches a message."""
        qos = consumer.task_consumer.channel.qos
        may = qos.can_consume
        qos.can_consume = lambda: not health.problem() and may()

    def register_with_event_loop(self, _consumer: Consumer, hub: Hub) -> None:
        """Have the loop ask again soon."""
        hub.call_repeatedly(_LOOK, lambda: None)  # type: ignore[no-untyped-call]  # as is
