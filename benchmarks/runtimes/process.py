"""One checkpoint in one runtime, in a process of its own; what it is asked for and answers is JSON.

So each runtime has the libraries that it wants, and memory that is its alone.
"""

import contextlib
import ctypes
import importlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from benchmarks.runtimes.engines import ENGINES, Engine, Given, Loaded


class Process:
    """The side that asks.

    Args:
        runtime: one of `ENGINES`.
        given: a file, written by `write_given`.
    """

    def __init__(self, runtime: str, given: Path) -> None:
        python = ENGINES[runtime].environment / "bin/python"
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "benchmarks.runtimes.process", runtime, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, what: str, *arguments: Path) -> Any:
        """The answer of the method of `Server` of that name.

        Raises:
            RuntimeError: it has none; the message says why.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([what, *map(str, arguments)]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def write_given(given: Given, file: Path) -> None:
    """For the processes."""
    torch.save(vars(given), file)


class Server:
    """The side that answers."""

    def __init__(self, engine: Engine, given: Given) -> None:
        importlib.import_module(engine.module)
        self._engine, self._given = engine, given
        self._before = _memory("VmRSS")
        self._loaded: Loaded | None = None

    def version(self) -> str:
        """Of the package."""
        return version(self._engine.package)

    def convert(self, directory: str, out: str) -> None:
        """Write what the runtime loads."""
        self._engine.convert(self._given, Path(directory), Path(out))

    def load(self, directory: str) -> None:
        """Load what was converted, and run it once."""
        self._loaded = self._engine.load(self._given, Path(directory))
        self._loaded.run()

    def abilities(self) -> list[str]:
        """What can be timed of it."""
        return ["run", "decode"] if self._loaded.decode else ["run"]

    def run(self) -> float:
        """Seconds of the processor that a forward takes."""
        return _seconds(self._loaded.run)

    def decode(self) -> float:
        """The same of an answer."""
        return _seconds(self._loaded.decode)

    def places(self, file: str) -> None:
        """Write where the outputs are largest."""
        np.save(file, self._loaded.run().argmax(-1))

    def memory(self) -> dict[str, int]:
        """Bytes that came to the process since before it loaded anything: now, and at most."""
        ctypes.CDLL(None).malloc_trim(0)  # what was freed counts no more
        return {"used": _memory("VmRSS") - self._before, "peak": _memory("VmHWM") - self._before}


def _seconds(run: Any) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def serve(runtime: str, given: str) -> None:
    """Answer every line until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    torch.set_num_threads(1)
    server = None
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            server = server or Server(ENGINES[runtime], Given(**torch.load(given)))
            answer = {"value": getattr(server, what)(*arguments)}
        except Exception as error:  # noqa: BLE001  whatever a runtime has against it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
