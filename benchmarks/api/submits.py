"""Submits per second, beside one INSERT per request, with one process and with two."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import psutil

from benchmarks.api.client import Server, message, rate
from benchmarks.api.servers import Servers
from benchmarks.figures import Figure

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
ROUNDS, SECONDS, CLIENTS = 7, 3.0, 16
PROCESSES = 2


@dataclass(frozen=True)
class Side:
    """The service or the yardstick: its processes, and what is sent to them."""

    processes: Sequence[tuple[Server, psutil.Process]]
    path: str


@dataclass(frozen=True, slots=True)
class Run:
    """Answers per second, and CPU milliseconds per answer."""

    rate: float
    api: float
    database: float


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess):  # autovacuum comes and goes
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _run(servers: Servers, side: Side, count: int) -> Run:
    asked, databases = side.processes[:count], servers.databases
    apis = [process for _, process in asked]

    async def all_of_them() -> float:
        rates = (
            rate(server, message(server, "POST", side.path, JOB), clients=each, seconds=SECONDS)
            for server, each in ((server, CLIENTS // count) for server, _ in asked)
        )
        return sum(await asyncio.gather(*rates))

    before = _cpu(apis), _cpu(databases)
    done = asyncio.run(all_of_them())
    took = (_cpu(apis) - before[0], _cpu(databases) - before[1])
    return Run(done, *(1000 * each / (done * SECONDS) for each in took))


def measure(servers: Servers, rounds: int = ROUNDS) -> dict[str, Figure]:
    """Both sides in turn, so that neither has the quieter machine."""
    first = servers.api("submits")
    more = [
        servers.beside(first.settings, first.engine, first.server.key) for _ in range(PROCESSES - 1)
    ]
    ours = Side([(each.server, each.process) for each in (first, *more)], "/v1/jobs")
    theirs = Side(servers.bare(PROCESSES), "/rows")
    figures: dict[str, Figure] = {}
    for side in (ours, theirs):
        _run(servers, side, PROCESSES)  # warm
    for count in range(1, PROCESSES + 1):
        pairs = [(_run(servers, ours, count), _run(servers, theirs, count)) for _ in range(rounds)]
        figures |= _figures(f"{count} process" + "es" * (count > 1), pairs)
    return figures


def _figures(name: str, pairs: Sequence[tuple[Run, Run]]) -> dict[str, Figure]:
    ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
    costs = [theirs.api / ours.api for ours, theirs in pairs]
    return {
        f"{name}: submits per second": Figure(median(ours.rate for ours, _ in pairs)),
        f"{name}: inserts per second of a bare handler": Figure(median(t.rate for _, t in pairs)),
        f"{name}: submits / bare inserts": Figure(median(ratios), least=0.5),
        f"{name}: CPU of a bare handler / of a submit": Figure(median(costs)),
        f"{name}: CPU ms of the API per submit": Figure(median(ours.api for ours, _ in pairs)),
        f"{name}: CPU ms of PostgreSQL per submit": Figure(
            median(ours.database for ours, _ in pairs)
        ),
    }
