"""The heartbeat of a worker: tells once a minute that its worker class has a live worker.

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

    def __init__(self, tell: Callable[[], None]) -> None:
        """Start the thread; `tell` stores one sign of life."""
        self._tell = tell
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            try:
                self._tell()
            except SQLAlchemyError as error:
                logger.warning("no sign of life from this worker: %s", error)
            except Exception:
                logger.exception("no sign of life from this worker")
