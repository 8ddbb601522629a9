"""Keeps a set of processes running until a signal asks to stop; then stops the last one first."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Self

from app.local.process import LocalError, Process

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
# A process that lived this long (seconds) did not die of its start.
_SETTLED = 60.0


class Stopped(Exception):  # noqa: N818  not an error: the user wants to stop
    """A signal asked to stop. Raised only where we wait, so no step is left half done."""


@dataclass
class _Watched:
    process: Process
    started: float
    delay: float = _FIRST_DELAY
    restart_at: float | None = None


class Supervisor:
    """Starts processes, restarts those that die, and stops them all on exit.

    While inside, SIGINT, SIGTERM and SIGHUP only take note; `tend` then raises `Stopped`. Only an
    ignored SIGHUP (`nohup`) stays ignored: scripts start background jobs with SIGINT ignored, and
    whoever sends it means it.

    Args:
        report: is told of every start and every death, in words.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._started: list[Process] = []
        self._watched: list[_Watched] = []
        self._asked_to_stop = False
        self._previous = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number, previous in self._previous.items():
            if number is not signal.SIGHUP or previous is not signal.SIG_IGN:
                signal.signal(number, self._take_note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything, then give the signals back."""
        try:
            for process in reversed(self._started):
                process.stop()
        finally:
            for number, previous in self._previous.items():
                signal.signal(number, previous)

    def run(self, process: Process) -> None:
        """Start a process, wait until it is ready, keep it running from then on.

        Raises:
            LocalError: it does not start.
            Stopped: a signal came meanwhile.
        """
        self._started.append(process)
        self._report(f"starting {process.program.name}")
        process.start()
        process.wait_until_ready(pause=self.tend)
        self._watched.append(_Watched(process, time.monotonic()))

    def tend(self, seconds: float) -> None:
        """Look after the processes for a while; wait here instead of sleeping.

        Raises:
            Stopped: a signal came.
        """
        end = time.monotonic() + seconds
        while True:
            if self._asked_to_stop:
                raise Stopped
            for watched in self._watched:
                self._look_after(watched)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    def _look_after(self, watched: _Watched) -> None:
        now = time.monotonic()
        name, log = watched.process.program.name, watched.process.log
        if watched.process.alive:
            return
        if watched.restart_at is None:
            if now - watched.started > _SETTLED:
                watched.delay = _FIRST_DELAY
            self._report(f"{name} ended; starting it again in {watched.delay:g} s (log: {log})")
        elif now < watched.restart_at:
            return
        else:
            watched.started = now
            try:
                watched.process.start()
            except LocalError as error:
                self._report(f"{name} does not start again: {error}")
            else:
                watched.restart_at = None
                return
        watched.restart_at = now + watched.delay
        watched.delay = min(2 * watched.delay, _LONGEST_DELAY)

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True
