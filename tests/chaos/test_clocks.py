"""The clocks of machines jump by an hour while jobs run."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

HOUR = 3600
SIDES = {
    "service": ("api", "maintenance", "worker-1", "worker-2"),
    "database": ("postgres",),
}


def library():
    """libfaketime, of the package or of the system, where it works."""
    found = [str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if spec := find_spec("libfaketime"):
        found.append(str(Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"))
    for path in found:
        fake = {"LD_PRELOAD": path, "FAKETIME": "-20y"}
        year = [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"]
        told = subprocess.run(year, env=os.environ | fake, capture_output=True, check=False)
        if told.returncode == 0 and int(told.stdout) < 2020:
            return path
    return None


@contextmanager
def adjustable(world, side):
    """The processes of one side with a clock that can be moved by so many seconds."""
    path = library()
    if path is None:
        pytest.skip("libfaketime is not installed, or does not work here")
    directory = world.directory / "clock"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    clock = directory / side
    clock.write_text("+0")
    clock.chmod(0o644)
    fake = {
        "LD_PRELOAD": path,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    processes = [world.processes[name] for name in SIDES[side]]
    honest = [process.program for process in processes]
    with world.disturbed():
        for process in processes:
            process.program = replace(process.program, env=dict(process.program.env) | fake)
            process.stop()
        world.heal()
        yield lambda seconds: clock.write_text(f"{seconds:+d}")
        for process, program in zip(processes, honest, strict=True):
            process.program = program
            process.stop()
        world.heal()


@pytest.mark.usefixtures("long")
def test_a_clock_that_jumps_loses_nothing(world, ledger, turns):
    for side in turns(SIDES):
        with adjustable(world, side) as jump:
            for hours in (1, -1, 0):
                job_id = ledger.submit("deep")
                ledger.running(job_id)
                jump(hours * HOUR)
                ledger.submit("quick")
                ledger.finish(job_id)
