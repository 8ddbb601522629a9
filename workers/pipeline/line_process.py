"""A process that is given a task and says lines of JSON, beside the one that wants to hear them.

It is ended with whoever has it open, with all that it has started. It sees nothing of this
process's environment but what libraries of arithmetic read. Its side of the agreement: the task is
JSON and its last argument, `seconds` of it are what it may take; it ends when its standard input
does; a line with `error` says that it cannot go on, and `out_of_memory` whether that is why.
"""

import json
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias

logger = logging.getLogger("secateur.process")

_LOOK = 0.1  # seconds between two looks at whether to go on
_GRACE = 10.0  # seconds
_LAST = 2000  # bytes of what it wrote to errors, for the log
_LONGEST = 1 << 20  # bytes of a line
_NAMES = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH"}
_PREFIXES = (
    *("LC_", "LD_", "OMP_", "GOMP_", "KMP_", "MKL_", "PYTORCH_", "TORCH_"),
    *("CUDA_", "CUBLAS_", "NVIDIA_", "HIP_", "ROCR_", "HSA_"),
)

Fault: TypeAlias = Literal["failed", "out_of_memory", "timed_out"]


class ProcessFaultError(Exception):
    """The process says no more; `fault` and text say why."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault: Fault = fault


class LineProcess:
    """Use it in a `with`: the process ends there at the latest."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        task: Mapping[str, Any],
        *,
        deadline: float,
        check: Callable[[], None],
        environment: Mapping[str, str],
        directory: Path | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            name: what it has, for messages: `result`.
            command: program and arguments, the task left out.
            task: what to do.
            deadline: when it must be done, by the monotonic clock.
            check: called while waiting; what it raises ends the wait.
            environment: all that it sees.
            directory: where it works; None for this process's.
        """
        self._name = name
        self._command = command
        self._task = task
        self._deadline = deadline
        self._check = check
        self._environment = environment
        self._directory = directory
        self._rest = b""
        self._said = b""

    def __enter__(self) -> Self:
        """Start the process."""
        left = max(1, round(self._deadline - time.monotonic()))
        # In a group of its own: signals to this one's are for this process, which ends the other.
        self._process = subprocess.Popen(  # noqa: S603  of this installation
            [*self._command, json.dumps({**self._task, "seconds": left})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self._directory,
            process_group=0,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process and its group, whatever they do."""
        # Not yet waited for unless it has died, its number is still its own; a group outlives it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a device ends after it
            self._process.wait(_GRACE)

    def say(self, line: str) -> None:
        """Write a line to its standard input.

        Raises:
            ProcessFaultError: it has ended.
            Exception: raised by the check.
        """
        try:
            os.write(self._process.stdin.fileno(), line.encode() + b"\n")  # type: ignore[union-attr]  # a pipe
        except BrokenPipeError:
            self._died()

    def hear(self) -> dict[str, Any]:
        """Wait for what it says next.

        Raises:
            ProcessFaultError: it has ended, cannot go on, or the time is over.
            Exception: raised by the check.
        """
        while b"\n" not in self._rest:
            self._check()
            if time.monotonic() >= self._deadline:
                raise ProcessFaultError("timed_out", f"the {self._name} took too long")
            if not self._read(_LOOK):
                self._died()
            if len(self._rest) > _LONGEST:
                raise ProcessFaultError("failed", f"the {self._name} says too much")
        text, _, self._rest = self._rest.partition(b"\n")
        told: dict[str, Any] = json.loads(text)
        if "error" not in told:
            return told
        self._log()
        if told["out_of_memory"]:
            raise ProcessFaultError("out_of_memory", f"there was no memory for the {self._name}")
        raise ProcessFaultError("failed", f"the {self._name} does not run: {told['error']}")

    def _read(self, seconds: float) -> bool:
        """Take in what it has said; False where it has closed its output."""
        lines = self._process.stdout.fileno()  # type: ignore[union-attr]  # a pipe
        errors = self._process.stderr.fileno()  # type: ignore[union-attr]  # a pipe
        ready = select.select([lines, errors], [], [], seconds)[0]
        said = os.read(errors, 1 << 16) if errors in ready else b""
        self._said = (self._said + said)[-_LAST:]
        if lines not in ready:
            if errors in ready and not said:  # closed: nothing more to wait for there
                time.sleep(seconds)
            return True
        heard = os.read(lines, 1 << 16)
        self._rest += heard
        return bool(heard)

    def _died(self) -> NoReturn:
        self._check()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        code = self._process.returncode
        if code == -signal.SIGALRM:
            raise ProcessFaultError("timed_out", f"the {self._name} took too long")
        self._log()
        if code == -signal.SIGKILL:  # nobody else does that
            reason = f"the system ended the {self._name}, most likely for want of memory"
            raise ProcessFaultError("out_of_memory", reason)
        raise ProcessFaultError("failed", f"the process of the {self._name} ended with code {code}")

    def _log(self) -> None:
        errors = self._process.stderr.fileno()  # type: ignore[union-attr]  # a pipe
        while select.select([errors], [], [], 0)[0] and (said := os.read(errors, 1 << 16)):
            self._said = (self._said + said)[-_LAST:]
        text = self._said.decode(errors="replace")
        logger.warning("the process of the %s failed: %s", self._name, text)


def environment(others: Mapping[str, str]) -> dict[str, str]:
    """What such a process may see: no key and no token among it.

    Args:
        others: variables to add.
    """
    known = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name.startswith(_PREFIXES)
    }
    return known | dict(others)
