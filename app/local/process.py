"""One child process: in a session of its own, output in a log file, its identity on disk."""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

# A recorded start time may differ by this much (seconds) when the wall clock was adjusted since.
_CLOCK_TOLERANCE = 5.0
_LAST_LINES = 15

Pause = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: `user` None is our own; `stdin` is what the program finds on its input."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0


def python_program(name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Program:
    """A module run by this interpreter, as `python -m` has it."""
    # -P: the working directory is no place to import from.
    return Program(name=name, argv=[sys.executable, "-P", "-m", *arguments], env=env)


class Process:
    """Runs a `Program`, again and again if need be, never two at a time.

    The child leads its own session, so Ctrl-C in the terminal reaches us and not the child. Its
    pid and start time are kept in `<data_dir>/run/<name>`: a run that was killed leaves its
    children behind, and the next `start` on the same data directory ends them first.
    """

    def __init__(self, program: Program, data_dir: Path) -> None:
        self.program = program
        self.log = data_dir / "logs" / f"{program.name}.log"
        self._record = data_dir / "run" / program.name
        self._data_dir = data_dir
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the child and of its process group; None while there is none."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the child, ending what an earlier one left.

        Raises:
            LocalError: the program cannot be executed.
        """
        self.clear()
        for path in (self.log, self._record):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, tempfile.TemporaryFile() as stdin:
            stdin.write(self.program.stdin.encode())
            stdin.seek(0)
            try:
                self._child = subprocess.Popen(  # noqa: S603  argv comes from this package
                    self.program.argv,
                    stdin=stdin,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._data_dir,
                    env=os.environ | dict(self.program.env),
                    start_new_session=True,
                    **as_user(self.program.user),
                )
            except OSError as error:
                raise LocalError(f"cannot run {self.program.argv[0]}: {error}") from error
        started = psutil.Process(self._child.pid).create_time()
        how = f"{self.program.stop_signal:d} {self.program.grace_seconds}"
        self._record.write_text(f"{self._child.pid} {started} {how}")

    def stop(self) -> None:
        """Ask the child to end, wait for its grace, then kill what is left of its group."""
        if self._child is None:
            return
        child, self._child = self._child, None
        if child.poll() is None:
            child.send_signal(self.program.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                child.wait(self.program.grace_seconds)
        _kill_group(child.pid)
        child.wait()
        self._record.unlink(missing_ok=True)

    def clear(self) -> None:
        """End the child, ours or that of an earlier run that was killed."""
        self.stop()
        _end_leftover(self._record)

    def ready(self) -> bool:
        """Whether the child does its work; here: whether it runs."""
        return self.alive

    def wait_until_ready(self, *, seconds: float = 60, pause: Pause = time.sleep) -> None:
        """Wait until the child is ready.

        Raises:
            LocalError: the child ended or was not ready in time; the message shows its last words.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                raise LocalError(f"{self.program.name} ended at once.\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{self.program.name} is not ready after {seconds:.0f} s.\n{self.last_words()}"
                )
            pause(0.05)

    def last_words(self) -> str:
        """The end of the log, and where the log is."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([*lines[-_LAST_LINES:], f"(log: {self.log})"])


P = TypeVar("P", bound=Process)


@contextmanager
def running(process: P, *, pause: Pause = time.sleep) -> Iterator[P]:
    """The process started and ready, stopped at the end.

    Raises:
        LocalError: it does not start; the message shows its log.
    """
    try:
        process.start()
        process.wait_until_ready(pause=pause)
        yield process
    finally:
        process.stop()


def end_leftovers(data_dir: Path) -> None:
    """End what an earlier, killed run left behind in `data_dir`, the last started first."""
    records = (data_dir / "run").glob("*")
    for record in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        _end_leftover(record)


def _end_leftover(record: Path) -> None:
    if not record.exists():
        return
    with suppress(psutil.NoSuchProcess, ValueError):
        pid, started, stop_signal, grace_seconds = record.read_text().split()
        leftover = psutil.Process(int(pid))
        if abs(leftover.create_time() - float(started)) <= _CLOCK_TOLERANCE:
            leftover.send_signal(int(stop_signal))
            _wait_for_end(leftover, float(grace_seconds))
            _kill_group(leftover.pid)
    record.unlink()


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments that make `subprocess` run a child as the account `name`; None: as ourselves."""
    if name is None:
        return {}
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _wait_for_end(process: psutil.Process, seconds: float) -> None:
    # Not psutil's wait: where nobody reaps orphans, a dead one stays as a zombie.
    deadline = time.monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.02)


def _kill_group(pgid: int) -> None:
    # PermissionError: macOS answers so for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


class LocalError(Exception):
    """A process of the local set-up cannot be started or kept running."""
