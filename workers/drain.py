"""Being asked to end: SIGTERM to the process that works on a job."""

import signal
import time
from types import FrameType, TracebackType
from typing import Self


class Drain:
    """Takes SIGTERM over while there is a job to give back; without one, the process may just die.

    Args:
        grace: seconds the job may take to come to the end of a block.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._asked_at: float | None = None

    def __enter__(self) -> Self:
        """Take the signal over."""
        self._previous = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGTERM, self._previous)

    @property
    def asked(self) -> bool:
        """Whether the process was asked to end."""
        return self._asked_at is not None

    @property
    def overdue(self) -> bool:
        """Whether the grace is over."""
        return self._asked_at is not None and time.monotonic() > self._asked_at + self._grace

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
