"""Spares requests the wait for a database that has just not answered another one."""

import time

from app.errors import DatabaseUnavailableError

SECONDS = 2.0


class Breaker:
    """Closed for a moment after each failure; then the next requests try."""

    def __init__(self) -> None:
        self._until = 0.0

    def trip(self) -> None:
        """Note that the database did not answer."""
        self._until = time.monotonic() + SECONDS

    def check(self) -> None:
        """Let a request go on.

        Raises:
            DatabaseUnavailableError: there is no point in it right now.
        """
        if time.monotonic() < self._until:
            raise DatabaseUnavailableError(
                "the database is not reachable right now; nothing was changed, try again"
            )
