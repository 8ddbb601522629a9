"""What the load has seen: how long answers took, and what went wrong."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import quantiles


@dataclass
class Notes:
    """Shared by everything that loads the service.

    Attributes:
        seconds: of every answer, by kind of request.
        errors: a sentence each.
        ended: when the load ends, on the monotonic clock.
        jobs: the last jobs that were submitted, the newest last.
    """

    ended: float
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @property
    def going_on(self) -> bool:
        """Whether the load has not ended."""
        return time.monotonic() < self.ended

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Take the time of one answer; an exception is an error, and goes no further."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001  the load goes on, whatever it meets
            self.errors.append(f"{kind}: {type(error).__name__}: {error}")
        else:
            self.seconds[kind].append(time.perf_counter() - started)

    def p99(self) -> dict[str, float]:
        """The 99th percentile in milliseconds, by kind; the largest where there are few."""
        return {
            kind: 1000 * (quantiles(taken, n=100)[98] if len(taken) > 100 else max(taken))
            for kind, taken in sorted(self.seconds.items())
        }
