"""`make bench-million`: every query's 99th percentile among a million jobs / among ten thousand.

Both databases lie in one PostgreSQL and are asked in turn, so that both meet the same noise; each
call is undone. Fills about 7 GB of the temporary directory's disk; `--many` fills less.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles

from sqlalchemy import Connection, Engine, text

from app.db import migrate
from app.db.engine import make_engine
from app.local.postgres import Postgres
from app.local.process import running
from benchmarks.figures import Figure, conclude
from benchmarks.million.calls import Call, Seen, lists, look, upkeep
from benchmarks.million.fill import fill

FEW, MANY = 10_000, 1_000_000
WARM, ASKED, SECONDS = 10, 250, 8.0  # turns of a call; a slow one has fewer
ROUNDS = 3  # of these turns; the median counts, so that what else the machine does matters less
FLAT = 1.3


class Side:
    """One of the two databases."""

    def __init__(self, url: str, count: int) -> None:
        migrate.upgrade(url)
        self.engine: Engine = make_engine(url, answer_seconds=3600)  # filling takes minutes
        started = time.monotonic()
        fill(self.engine, count)
        with self.engine.begin() as connection:
            self.seen: Seen = look(connection)
            size = text("SELECT pg_database_size(current_database()) / 1e9")
            gigabytes = connection.execute(size).scalar_one()
        print(f"{count} jobs: {gigabytes:.2f} GB, {time.monotonic() - started:.0f} s", flush=True)
        self.connection: Connection = self.engine.connect()

    def timed(self, call: Call) -> float:
        """Seconds that a call takes; nothing of it stays."""
        with self.connection.begin() as transaction:
            started = time.perf_counter()
            call(self.connection)
            taken = time.perf_counter() - started
            transaction.rollback()
        return taken


def _times(sides: tuple[Side, Side], calls: tuple[Call, Call]) -> tuple[list[float], list[float]]:
    """Seconds of every call; the two are asked in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    until = time.monotonic() + SECONDS
    for turn in range(WARM + ASKED):
        for side, call, seconds in zip(sides, calls, taken, strict=True):
            seconds.append(side.timed(call))
        if time.monotonic() > until and turn >= WARM + 4:
            break
    return taken[0][WARM:], taken[1][WARM:]


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98] if len(seconds) >= 100 else max(seconds)


def measure(
    sides: tuple[Side, Side], made: Callable[[Seen], Mapping[str, Call]], only: str
) -> dict[str, Figure]:
    """Of every call, the 99th percentile in the large database over that in the small one."""
    few, many = (made(side.seen) for side in sides)
    figures: dict[str, Figure] = {}
    for name in few:
        if only not in name:
            continue
        rounds = [_times(sides, (few[name], many[name])) for _ in range(ROUNDS)]
        ratio = median(_p99(large) / _p99(small) for small, large in rounds)
        small, large = ([each for one in rounds for each in one[side]] for side in (0, 1))
        figures[f"{name}: p99, 10^6 / 10^4"] = Figure(ratio, most=FLAT)
        print(
            f"{name:40s} p50 {1e3 * median(small):8.2f} {1e3 * median(large):8.2f} ms"
            f"  p99 {1e3 * _p99(small):8.2f} {1e3 * _p99(large):8.2f} ms  {ratio:.2f}",
            flush=True,
        )
    return figures


def main() -> int:
    """Measure everything; an exit code of zero where every call is flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=MANY, help="jobs in the large database")
    parser.add_argument("--only", default="", help="calls with this in their name")
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="secateur-bench-"))
    try:
        with running(Postgres(directory, {"max_connections": "50"})) as postgres:
            urls = [postgres.create_database(name) for name in ("few", "many")]
            sides = (Side(urls[0], FEW), Side(urls[1], asked.many))
            figures = measure(sides, lists, asked.only) | measure(sides, upkeep, asked.only)
            for side in sides:
                side.connection.close()
                side.engine.dispose()
            return conclude(figures)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
