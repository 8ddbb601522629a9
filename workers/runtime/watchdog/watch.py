"""A child's line to its watchdog, a process that ends the child once its right to go on has ended.

The line is a pipe: text of one JSON object a line, and the bare number of a signal, which the
interpreter writes by itself even while native code holds the GIL.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

logger = logging.getLogger("secateur.worker")

_QUIET = 1.0  # seconds between two words about progress
_GRACE = 5.0
_FOR_US = (signal.SIGTERM, signal.SIGINT)


class Watch:
    """Starts a watchdog, tells it what this process does, and starts another where it dies."""

    def __init__(self) -> None:
        """Start the watchdog.

        Raises:
            OSError: there is no room for another process.
        """
        self._doing: list[dict[str, Any]] = []
        self._moved_at = 0.0
        self._line = os.open(os.devnull, os.O_WRONLY)
        try:
            self._process = self._start()
        except OSError:
            os.close(self._line)
            raise

    def fileno(self) -> int:
        """Where numbers of signals are to be written; it stays the same."""
        return self._line

    def begins(self, job_id: str | None = None, attempt: int = 0, *, own: bool = True) -> None:
        """The process turns to something new.

        Args:
            job_id: of the job; None while one is claimed, or tidied up after.
            attempt: of the job.
            own: whether it runs the job; otherwise it helps the worker that does.
        """
        self._doing = [{"begins": [job_id, attempt, own]}]
        self._write(self._doing[0])

    def plans(self, step: float) -> None:
        """The longest step of the task should take this many seconds."""
        self._doing.append({"plans": step})
        self._write(self._doing[-1])

    def moves(self) -> None:
        """The task has got further."""
        now = time.monotonic()
        if now >= self._moved_at + _QUIET:
            self._moved_at = now
            self._write({"moves": None})

    def ends(self) -> None:
        """The process is idle."""
        self._doing = []
        self._write({"ends": None})

    def close(self) -> None:
        """End the watchdog."""
        os.close(self._line)
        self._reap()

    def _start(self) -> subprocess.Popen[bytes]:
        theirs, ours = os.pipe()
        try:
            # A watchdog that is stopped holds up nobody.
            os.set_blocking(ours, False)
            # -P: the working directory is no place to import from.
            command = [sys.executable, "-P", "-m", "workers.runtime.watchdog"]
            # A signal to the whole group is for this process; the watchdog never hears of it, from
            # its first moment on.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_US)
            try:
                process = subprocess.Popen(command, stdin=theirs)  # noqa: S603  our own module
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.dup2(ours, self._line, inheritable=False)
        finally:
            os.close(theirs)
            os.close(ours)
        return process

    def _write(self, word: dict[str, Any]) -> None:
        try:
            self._send(word)
        except BrokenPipeError:
            logger.warning("the watchdog of this process is gone; starting another")
            self._reap()
            self._process = self._start()
            for each in self._doing:
                self._send(each)

    def _send(self, word: dict[str, Any]) -> None:
        with suppress(BlockingIOError):
            os.write(self._line, json.dumps(word).encode() + b"\n")

    def _reap(self) -> None:
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


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
