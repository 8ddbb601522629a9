"""Wakes the relay for new jobs, once for all that were stored meanwhile."""

import logging
from threading import Event, Thread

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import outbox

logger = logging.getLogger("secateur.api")

PAUSE = 0.05  # seconds


class Announcer:
    """A thread that sends the notification.

    In a submit's own transaction it would have commits wait for each other. Where the process dies
    before it is sent, or the database is away, the relay looks by itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._news, self._closing = Event(), Event()
        self._thread = Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def queued(self) -> None:
        """Jobs were stored, and that is committed."""
        self._news.set()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._news.set()
        self._thread.join()

    def _run(self) -> None:
        while self._news.wait() and not self._closing.is_set():
            self._news.clear()
            try:
                with self._engine.connect() as connection:
                    outbox.wake(connection)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("the relay is not woken: %s", error)
            self._closing.wait(PAUSE)
