"""A process that has one model and runs it when told to; see `__main__` for its other side.

It is ended with whoever has it open, ends by itself once its line is gone or its time over, and
sees nothing of this process's environment but what libraries of arithmetic read.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, Self

from app.recipes.performance import NotMeasuredCode

logger = logging.getLogger("secateur.performance")

_MODULE = "workers.pipeline.performance"
_LOOK = 0.1  # seconds between two looks at whether to go on
_GRACE = 10.0  # seconds
_LAST = 2000  # characters of what it wrote to errors, for the log
_FOR_US = (signal.SIGTERM, signal.SIGINT)
_NAMES = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH"}
_PREFIXES = (
    *("LC_", "LD_", "OMP_", "GOMP_", "KMP_", "MKL_", "PYTORCH_", "TORCH_"),
    *("CUDA_", "CUBLAS_", "NVIDIA_", "HIP_", "ROCR_", "HSA_"),
)


class UnmeasuredError(Exception):
    """There is nothing to report of the models; `code` and text say why."""

    def __init__(self, code: NotMeasuredCode, reason: str) -> None:
        super().__init__(reason)
        self.code: NotMeasuredCode = code


class ModelProcess:
    """Use it in a `with`: the process ends there at the latest."""

    def __init__(
        self, name: str, task: dict[str, Any], *, deadline: float, check: Callable[[], None]
    ) -> None:
        """Start nothing yet.

        Args:
            name: of the model, for messages.
            task: as the other side wants it.
            deadline: when it must be done, by the monotonic clock.
            check: called while waiting; what it raises ends the wait.
        """
        self._name = name
        self._task = task
        self._deadline = deadline
        self._check = check
        self._rest = b""

    def __enter__(self) -> Self:
        """Start the process."""
        left = max(1, round(self._deadline - time.monotonic()))
        # -P: the working directory is no place to import from.
        command = [sys.executable, "-P", "-m", _MODULE, json.dumps(self._task | {"seconds": left})]
        self._errors = tempfile.TemporaryFile()
        # A signal to the whole group is for this process, which ends the other.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_US)
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
            )
        except OSError:
            self._errors.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a device ends after it
            self._process.wait(_GRACE)

    def turn(self) -> dict[str, Any]:
        """Let it run the model once; returns what it says, as `hear`."""
        try:
            os.write(self._process.stdin.fileno(), b"run\n")  # type: ignore[union-attr]  # a pipe
        except BrokenPipeError:
            self._died()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Wait for what it says next.

        Raises:
            UnmeasuredError: it has ended, cannot run the model, or the time is over.
            Exception: raised by the check.
        """
        while b"\n" not in self._rest:
            self._check()
            if time.monotonic() >= self._deadline:
                raise UnmeasuredError("measuring_timed_out", f"the {self._name} took too long")
            line = self._process.stdout.fileno()  # type: ignore[union-attr]  # a pipe
            if select.select([line], [], [], _LOOK)[0]:
                heard = os.read(line, 1 << 16)
                if not heard:
                    self._died()
                self._rest += heard
        text, _, self._rest = self._rest.partition(b"\n")
        told: dict[str, Any] = json.loads(text)
        if "error" in told:
            self._log()
            if told["out_of_memory"]:
                raise UnmeasuredError(
                    "measuring_out_of_memory", f"there was no memory for the {self._name}"
                )
            raise UnmeasuredError(
                "measuring_failed", f"the {self._name} does not run: {told['error']}"
            )
        return told

    def _died(self) -> NoReturn:
        self._check()
        code = self._process.wait()
        if code == -signal.SIGALRM:
            raise UnmeasuredError("measuring_timed_out", f"the {self._name} took too long")
        self._log()
        if code == -signal.SIGKILL:  # nobody else does that
            reason = f"the system ended the {self._name}, most likely for want of memory"
            raise UnmeasuredError("measuring_out_of_memory", reason)
        reason = f"the process of the {self._name} ended with code {code}"
        raise UnmeasuredError("measuring_failed", reason)

    def _log(self) -> None:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        logger.warning("measuring the %s failed: %s", self._name, said[-_LAST:])


def _environment() -> dict[str, str]:
    """No key and no token among it; and whatever a file says, nothing is downloaded."""
    known = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name.startswith(_PREFIXES)
    }
    return known | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
