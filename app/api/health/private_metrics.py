"""`/metrics` of the API at a port of its own, for networks where the API's is not only ours."""

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.registry import Collector

from app.api.health.router import state
from app.api.http.readiness import Probes
from app.telemetry import exposition

_SECONDS = 15.0


class _Everything(Collector):
    """What the API's own `/metrics` says; asked in a thread, found out in the event loop."""

    def __init__(self, probes: Probes, loop: asyncio.AbstractEventLoop) -> None:
        self._probes, self._loop = probes, loop

    def collect(self) -> Iterable[Metric]:
        yield from REGISTRY.collect()
        found = asyncio.run_coroutine_threadsafe(state(self._probes), self._loop)
        yield from found.result(_SECONDS).collect()


def serve(host: str, port: int, probes: Probes) -> Callable[[], None]:
    """Answer Prometheus on a port; returns what stops it, to be called in a thread.

    Port 0: do nothing.
    """
    registry = CollectorRegistry()
    registry.register(_Everything(probes, asyncio.get_running_loop()))
    return exposition.serve(host, port, registry)
