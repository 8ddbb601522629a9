"""Being asked to end: SIGTERM to the process that works on a job."""

import signal
from types import FrameType, TracebackType
from typing import Self

from workers.runtime.watchdog.watch import Watch


class Drain:
    """Takes SIGTERM over while there is a job to give back; without one, the process may just die.

    The watchdog hears of the signal as well: from the interpreter itself, which needs neither the
    GIL nor the main thread for it.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._asked = False

    def __enter__(self) -> Self:
        """Take the signal over."""
        self._wakeup = signal.set_wakeup_fd(self._watch.fileno(), warn_on_full_buffer=False)
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
        signal.set_wakeup_fd(self._wakeup)

    @property
    def asked(self) -> bool:
        """Whether the process was asked to end."""
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
