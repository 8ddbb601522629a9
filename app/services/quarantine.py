"""The guard of maintenance's loops: an item that fails is set aside, and the loop goes on.

An item is a row, a message, a directory: whatever one tenant's data can break. What a loop's items
have in common (the database, the broker, the store) is not their fault: where that is away, the
round ends with the error, and the next one tries again.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine

from app.db import quarantine
from app.domain.quarantine import ROUND, Loop
from app.domain.text import printable
from app.telemetry.metrics import maintenance as metrics
from app.telemetry.redaction import scrub

logger = logging.getLogger("secateur.maintenance")

Item = TypeVar("Item")
Done = TypeVar("Done")

MAX_ITEM, MAX_REASON = 200, 500  # characters


class Guard:
    """Runs the items of loops one by one.

    Attributes:
        engine: the database in which failures are noted, each in a transaction of its own.
    """

    def __init__(
        self,
        engine: Engine,
        stop: threading.Event | None = None,
        passing: tuple[type[Exception], ...] = (),
    ) -> None:
        """Guard nothing yet.

        Args:
            engine: the database.
            stop: once it is set, no further item is begun.
            passing: errors that say that a service is away; a round that raises one is not set
                aside.
        """
        self.engine = engine
        self._stop = stop or threading.Event()
        self._passing = passing

    def each(
        self,
        loop: Loop,
        items: Sequence[Item],
        handle: Callable[[Item], Done],
        *,
        name: Callable[[Item], str] = str,
        check: Callable[[], None] | None = None,
    ) -> list[Done]:
        """Handle the items that are not set aside now; returns what came of those that went well.

        Args:
            loop: whose items they are.
            items: in the order in which they are tried.
            handle: does the work on one.
            name: tells one from the others.
            check: raises where what all of them need is away.

        Raises:
            Exception: of `check`, or the database's where the failure cannot be noted.
        """
        if not items:
            return []
        known, done = self._known(loop), list[Done]()
        for item in items:
            if self._stop.is_set():
                break
            key = printable(name(item), MAX_ITEM)
            if known.get(key):
                continue
            try:
                done.append(handle(item))
            except Exception as error:  # noqa: BLE001  whatever it is, the others go on
                if check is not None:
                    check()
                self.set_aside(loop, key, error)
            else:
                if key in known:
                    self.release(loop, key)
        return done

    def round(self, loop: Loop, work: Callable[[], Done]) -> Done | None:
        """Do a loop's round; None where it fails or is set aside.

        Raises:
            Exception: one of `passing`.
        """
        known = self._known(loop)
        if known.get(ROUND):
            return None
        try:
            done = work()
        except self._passing:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the other loops go on
            self.set_aside(loop, ROUND, error)
            return None
        if ROUND in known:
            self.release(loop, ROUND)
        return done

    def _known(self, loop: Loop) -> Mapping[str, bool]:
        with self.engine.connect() as connection:
            return quarantine.of_loop(connection, loop)

    def set_aside(self, loop: Loop, key: str, error: Exception) -> None:
        """Note a failure."""
        with self.engine.begin() as connection:
            set_aside(connection, loop, key, error)

    def release(self, loop: Loop, key: str) -> None:
        """Note that an item succeeded again."""
        with self.engine.begin() as connection:
            quarantine.remove(connection, loop, key)
        logger.info("%s: %s succeeded again", loop, key)


def guarded(
    connection: Connection,
    loop: Loop,
    key: str,
    work: Callable[[], Done],
    passing: tuple[type[Exception], ...],
) -> Done | None:
    """Do the work in a savepoint; None where it fails, and the item of that key is set aside.

    Raises:
        Exception: one of `passing`.
    """
    try:
        with connection.begin_nested():
            return work()
    except passing:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the others go on
        set_aside(connection, loop, key, error)
        return None


def set_aside(connection: Connection, loop: Loop, key: str, error: Exception) -> None:
    """Note in a transaction that the loop failed on the item of that key."""
    told = f"{type(error).__name__}: {error}".partition("\n")[0]
    reason = printable(scrub(told), MAX_REASON)
    quarantine.put(connection, loop, key, reason)
    metrics.FAILURES.labels(loop).inc()
    logger.error("%s: %s is set aside for now: %s", loop, key, reason, exc_info=error)
