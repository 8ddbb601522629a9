"""Runs the tests of one module over a copy of the tree, with and without a break in it.

Every run is a fork of this process, which has imported all libraries before: what a run costs is
importing our own modules and the tests themselves. The copy is for tests that start processes.
"""

import compileall
import contextlib
import enum
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import psutil
import pytest

from benchmarks.mutation.breaks import Break
from benchmarks.mutation.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("app", "workers", "tests")  # the rest is linked to
_NOT_LINKED = {".git", ".hypothesis", ".pytest_cache"}
_OURS = {"app", "workers", "tests", "benchmarks", "conftest", "__main__"}
_MEMORY, _FILE = 8 << 30, 1 << 30  # bytes: a break of a limit shall not take the machine along
_PATIENCE, _SLOWER = 20.0, 8.0  # seconds; and the times an unbroken run takes
# Libraries that pytest would rewrite have been imported before it starts; they assert nothing.
_KNOWN = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
_LONGEST = 600.0  # seconds of an unbroken run
_OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", *_KNOWN]


class Outcome(enum.Enum):
    """What the tests say of a break."""

    KILLED = "killed"
    HUNG = "killed by the clock"
    SURVIVED = "survived"


class BaselineError(Exception):
    """The tests do not pass, or do not look at the module, without any break."""


class Bench:
    """A copy of the tree to break things in."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="secateur-mutation-"))
        self._tree = self._home / "tree"
        self._tree.mkdir()
        for entry in ROOT.iterdir():
            if entry.name in _COPIED:
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(entry, self._tree / entry.name, ignore=ignored)
            elif entry.name not in _NOT_LINKED:
                (self._tree / entry.name).symlink_to(entry)
        os.chdir(self._tree)
        # Ours and that of processes which tests start; before the installed path to this tree.
        sys.path[:] = [str(self._tree), *(p for p in sys.path if p not in {"", str(ROOT)})]
        os.environ |= {"PYTHONPATH": str(self._tree), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        for folder in ("app", "workers"):
            compileall.compile_dir(self._tree / folder, quiet=1)
        self._servers = Servers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.stop()
        os.chdir(ROOT)
        shutil.rmtree(self._home)

    def baseline(self, module: str, tests: Sequence[str]) -> float:
        """Seconds that the tests take without a break, once their libraries are imported.

        Raises:
            BaselineError: they fail, or never import the module.
        """
        if any(test.startswith("tests/integration") for test in tests):
            self._servers.start()
        for _ in range(2):
            began = time.monotonic()
            status = self._run(module, tests, seconds=_LONGEST, broken=False)
            if status != pytest.ExitCode.OK:
                raise BaselineError(f"{module}: its tests fail unbroken\n{self._output()}")
            took = time.monotonic() - began
            self._import_libraries(module)
        return took

    def attempt(self, module: str, tests: Sequence[str], each: Break, unbroken: float) -> Outcome:
        """Run the tests with a break; `unbroken` is how long they take without."""
        with self._broken(module, each):
            status = self._run(module, tests, seconds=_PATIENCE + _SLOWER * unbroken, broken=True)
        if status is None:
            return Outcome.HUNG
        if status == pytest.ExitCode.NO_TESTS_COLLECTED:
            raise BaselineError(f"{module}: no tests were found")
        return Outcome.SURVIVED if status == pytest.ExitCode.OK else Outcome.KILLED

    @contextlib.contextmanager
    def _broken(self, module: str, each: Break) -> Iterator[None]:
        file = self._tree / module
        source, before = file.read_bytes(), file.stat()
        for cached in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            cached.unlink()
        try:
            file.write_bytes(each.applied(source))
            yield
        finally:
            file.write_bytes(source)
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _run(
        self, module: str, tests: Sequence[str], seconds: float, *, broken: bool
    ) -> int | None:
        """Exit status of the tests in a process of their own; None where time was up."""
        child = os.fork()
        if child == 0:
            self._be_the_run(module, tests, broken=broken)
        process = psutil.Process(child)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.02)
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            os.waitpid(child, 0)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)

    def _be_the_run(self, module: str, tests: Sequence[str], *, broken: bool) -> None:
        """The child: never returns."""
        status: int = pytest.ExitCode.INTERNAL_ERROR
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            output = os.open(self._home / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            _repeatable()
            sys.dont_write_bytecode = broken
            status = pytest.main([*_OPTIONS, *tests], plugins=[self._servers])
            self._note_imports(module)
        except BaseException:  # noqa: BLE001  this process ends here, whatever it is
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _note_imports(self, module: str) -> None:
        name = module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        found = {
            "seen": name in sys.modules,
            "libraries": [
                each for each in list(sys.modules) if each.partition(".")[0] not in _OURS
            ],
        }
        (self._home / "imports.json").write_text(json.dumps(found))

    def _import_libraries(self, module: str) -> None:
        found = json.loads((self._home / "imports.json").read_text())
        if not found["seen"]:
            raise BaselineError(f"{module}: its tests never import it")
        for name in found["libraries"]:
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def _output(self) -> str:
        return (self._home / "output").read_text(errors="replace")[-3000:]


def _repeatable() -> None:
    """Have hypothesis draw the same examples in every run, and stop at the first that fails."""
    from hypothesis import Phase, settings  # noqa: PLC0415  pytest's own plugin imports it later

    found = (Phase.explicit, Phase.generate)  # not smaller ones
    settings.register_profile(
        "mutation", derandomize=True, deadline=None, database=None, phases=found
    )
    settings.load_profile("mutation")
