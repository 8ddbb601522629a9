"""What the API reads from the database whenever Prometheus asks; every replica says the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class State(Collector):
    """Gauges of one moment.

    Attributes:
        ready: whether each dependency does its work.
        jobs: how many, by (status, method); None where the database is away, as for the others.
        waiting: jobs that a free worker could start.
        oldest_seconds: how long the first of them waits.
    """

    ready: Mapping[str, bool]
    jobs: Mapping[tuple[str, str], int] | None = None
    waiting: int = 0
    oldest_seconds: float = 0

    def collect(self) -> Iterable[Metric]:
        """The gauges; without the database's figures where it is away."""
        ready = GaugeMetricFamily(
            "secateur_ready",
            "Whether a dependency of the API does its work, as /readyz says.",
            labels=["dependency"],
        )
        for dependency, state in self.ready.items():
            ready.add_metric([dependency], state)
        yield ready
        if self.jobs is not None:
            yield from self._figures(self.jobs)

    def _figures(self, counts: Mapping[tuple[str, str], int]) -> Iterable[Metric]:
        jobs = GaugeMetricFamily(
            "secateur_jobs", "Jobs in the database.", labels=["status", "method"]
        )
        for labels, count in counts.items():
            jobs.add_metric(labels, count)
        yield jobs
        yield GaugeMetricFamily(
            "secateur_queue_depth", "Jobs that a free worker could start now.", self.waiting
        )
        yield GaugeMetricFamily(
            "secateur_queue_age_seconds",
            "How long the first of these jobs has been waiting.",
            self.oldest_seconds,
        )
