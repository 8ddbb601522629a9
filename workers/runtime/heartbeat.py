"""The heartbeat of a worker: tells once a minute that it lives, and at its end that it is gone.

It says nothing about a job; the heartbeat of a job extends its lease, see `attempt`.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger("secateur.worker")

SECONDS = 60.0


class WorkerHeartbeat:
    """A thread that gives a sign of life once a minute."""

    def __init__(self, tell: Callable[[], None], leave: Callable[[], None]) -> None:
        """Start the thread; `tell` stores one sign of life, `leave` the end."""
        self._tell = tell
        self._leave = leave
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()
        self._try(self._leave)

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            self._try(self._tell)

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except SQLAlchemyError as error:
            logger.warning("no sign of life from this worker: %s", error)
        except Exception:
            logger.exception("no sign of life from this worker")
