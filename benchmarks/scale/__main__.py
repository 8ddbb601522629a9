"""`make bench-scale`: what operations cost PostgreSQL, and pretended workers that do them all.

WORKERS=, JOB_SECONDS= and SECONDS= choose. The CPU seconds of PostgreSQL, Valkey and maintenance
are what counts: the pretended workers themselves take more, which real ones take on their machines.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import quantiles

import psutil

from app.db import migrate, projects
from app.db.engine import make_engine
from app.domain.projects import DEFAULT_PROJECT, Limits
from app.local.postgres import Postgres
from app.local.process import Process, python_program, running
from app.local.valkey import Valkey
from app.settings import Settings
from benchmarks.figures import Figure, conclude
from benchmarks.scale import backlog, operations
from benchmarks.scale.operations import Cost
from benchmarks.scale.simulation import THREADS, Simulation

UNLIMITED = Limits(queued_jobs=10**9, running_jobs=10**6, requests_per_minute=10**9)
WARM, WARM_EACH = 20.0, 0.03  # seconds before anything is counted, and for every worker's claim
_EARLIER = 1.0  # second at which it is read what servers used: while all are at work


def _cpu(pid: int | None) -> float:
    """Seconds of a process and all below it."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for each in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # autovacuum comes and goes
                times = each.cpu_times()
                total += times.user + times.system
    return total


def _cores(servers: Sequence[Process], after: float, seconds: float) -> dict[str, float]:
    """What each server uses, from some seconds on, while all connections are open."""

    def now() -> dict[str, float]:
        return {each.program.name: _cpu(each.pid) for each in servers}

    time.sleep(after)
    began, before = time.monotonic(), now()
    time.sleep(seconds)
    took, used = time.monotonic() - began, now()
    return {name: (used[name] - before[name]) / took for name in used}


def _of_operations(found: dict[str, Cost]) -> dict[str, Figure]:
    figures = {}
    for name, cost in found.items():
        figures[f"{name}: CPU ms of PostgreSQL"] = Figure(cost.cpu)
        figures[f"{name}: kB of WAL"] = Figure(cost.wal)
    return figures


def measure(asked: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    """Everything."""
    with (
        running(Postgres(directory, {"max_connections": "100"})) as postgres,
        running(Valkey(directory)) as valkey,
    ):
        url = postgres.create_database("scale")
        migrate.upgrade(url)
        engine = make_engine(url, pool_size=THREADS)
        with engine.begin() as connection:
            projects.set_limits(connection, DEFAULT_PROJECT, UNLIMITED)
        known = operations.costs(engine)
        figures = _of_operations(known)
        for name, cpu in backlog.costs(engine).items():
            figures[f"{name}: CPU ms of PostgreSQL"] = Figure(cpu)
        for name, figure in figures.items():
            print(f"{name:56s} {figure}", flush=True)
        settings = Settings(data_dir=directory, database={"url": url}, queue={"url": valkey.url})
        environment = settings.environment()
        maintenance = Process(
            python_program("maintenance", ["app.maintenance"], environment), directory
        )
        with running(maintenance):
            made = Simulation(engine, valkey.url, asked.workers, asked.job_seconds)
            with ThreadPoolExecutor(1) as pool:
                servers, warm = (postgres, valkey, maintenance), WARM + WARM_EACH * asked.workers
                cores = pool.submit(_cores, servers, warm, asked.seconds - _EARLIER)
                own = time.process_time()
                made.run(warm, asked.seconds)
                own = (time.process_time() - own) / (warm + asked.seconds)
        engine.dispose()
    tally = made.tally
    print(dict(tally.done), dict(tally.errors), flush=True)
    late = tally.late["heartbeat"]
    expected = sum(cost.cpu * tally.done[name] for name, cost in known.items()) / 1000
    return figures | {
        "jobs that ended per second": Figure(tally.done["success"] / asked.seconds),
        "operations per second": Figure(tally.done.total() / asked.seconds),
        "heartbeat, p99 of how late it was, s": Figure(quantiles(late, n=100)[98], most=1.0),
        **{f"cores of {name}": Figure(used) for name, used in cores.result().items()},
        "cores of the pretended workers": Figure(own),
        "cores of postgres, by the operations' costs": Figure(expected / asked.seconds),
        "errors": Figure(tally.errors.total(), most=0),
    }


def main() -> int:
    """Measure everything; an exit code of zero where nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument(
        "--job-seconds", type=float, default=86.0, help="10^6 a day by 1000 workers"
    )
    parser.add_argument("--seconds", type=float, default=90.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="secateur-bench-") as directory:
        return conclude(measure(asked, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
