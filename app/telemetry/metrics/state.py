"""What the API reads from the database whenever Prometheus asks; every replica says the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class State(Collector):
    """Gauges of one moment.

    Attributes:
        ready: whether each dependency does its work.
        jobs: how many have not ended, by (status, method); None where the database is away, as for
            the others.
        waiting: jobs that a free worker could start, by its class.
        oldest_seconds: how long the first of them waits, by the class.
        set_aside: items that maintenance fails on, by its loop.
    """

    ready: Mapping[str, bool]
    jobs: Mapping[tuple[str, str], int] | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)
    oldest_seconds: Mapping[str, float] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)

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
            "secateur_jobs", "Jobs that have not ended.", labels=["status", "method"]
        )
        for labels, count in counts.items():
            jobs.add_metric(labels, count)
        yield jobs
        depth = GaugeMetricFamily(
            "secateur_queue_depth",
            "Jobs that a free worker of the class could start now.",
            labels=["worker_class"],
        )
        age = GaugeMetricFamily(
            "secateur_queue_age_seconds",
            "How long the first of these jobs has been waiting.",
            labels=["worker_class"],
        )
        for name, waiting in self.waiting.items():
            depth.add_metric([name], waiting)
            age.add_metric([name], self.oldest_seconds[name])
        yield depth
        yield age
        aside = GaugeMetricFamily(
            "secateur_maintenance_set_aside",
            "Items that a loop of maintenance has failed on and tries again later.",
            labels=["loop"],
        )
        for loop, count in self.set_aside.items():
            aside.add_metric([loop], count)
        yield aside
