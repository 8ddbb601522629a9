"""Memory and connections of every process, looked at again and again."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import psutil

from tests.chaos.world import World

EVERY = 2.0  # seconds
WARM, WINDOW = 0.2, 0.05  # shares of the run: when growth begins to count, how long one looks


@dataclass
class Samples:
    """What was seen.

    Attributes:
        memory: (share of the run, MiB resident) by process; PostgreSQL's are one.
        connections: the most at a time, by process.
        started: the process ids of each name; a second one means that it died.
    """

    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    started: dict[str, set[int]] = field(default_factory=dict)

    def take(self, world: World, share: float) -> None:
        """Look once."""
        for name in world.processes:
            with suppress(psutil.Error, IndexError):
                self._look(name, world.family(name), share)
        for name in world.workers:
            with suppress(psutil.Error, IndexError):
                self._look(f"{name} child", [world.process(f"{name} child")], share)

    def _look(self, name: str, family: list[psutil.Process], share: float) -> None:
        alone = [family[0]] if name != "postgres" else family
        size = sum(each.memory_info().rss - each.memory_info().shared for each in alone)
        self.memory.setdefault(name, []).append((share, size / 2**20))
        held = sum(len(each.net_connections()) for each in alone)
        self.connections[name] = max(held, self.connections.get(name, 0))
        if not name.endswith("child"):
            self.started.setdefault(name, set()).add(family[0].pid)

    def growth(self, name: str) -> float:
        """Percent that a process has grown since it was warm: medians of two windows."""
        taken = [each for each in self.memory[name] if each[0] >= WARM]
        count = math.ceil(WINDOW * len(self.memory[name]))
        early, late = taken[:count], taken[-count:]
        return 100 * (median(size for _, size in late) / median(size for _, size in early) - 1)

    @property
    def died(self) -> int:
        """How often a process had to be started again."""
        return sum(len(pids) - 1 for pids in self.started.values())


def watch(world: World, seconds: float) -> Samples:
    """Look for so long, and look after the processes meanwhile."""
    samples, started = Samples(), time.monotonic()
    while (share := (time.monotonic() - started) / seconds) < 1:
        samples.take(world, share)
        world.tend(EVERY)
    return samples
