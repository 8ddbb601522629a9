"""For machines: does the process answer, can it do its work, what does it count?"""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from app.api.http.endpoints import WithResources
from app.api.http.guests import OperatorRoute
from app.api.http.readiness import OK, Probes
from app.telemetry import exposition
from app.telemetry.metrics.state import State


class Health(BaseModel):
    """`ok`, or what is wrong, per dependency."""

    status: str
    checks: dict[str, str]
    set_aside: dict[str, int] = Field(
        default={},
        description="how many items each loop of maintenance has failed on and tries again later",
    )


router = APIRouter(tags=["health"])
_operators = APIRouter(tags=["health"], route_class=OperatorRoute)


class PrometheusText(Response):
    """Prometheus' text format."""

    media_type = CONTENT_TYPE_PLAIN_0_0_4


@router.get("/livez")
async def get_liveness() -> Health:
    """Answer as long as the process lives."""
    return Health(status=OK, checks={})


@router.get("/readyz", responses={503: {"model": Health, "description": "What is missing"}})
async def get_readiness(resources: WithResources, response: Response) -> Health:
    """Name every dependency that is missing; 503 while one is.

    Items that maintenance has set aside are counted, and keep nobody from being served.
    """
    found = await resources.probes.checks()
    ready = all(state == OK for state in found.values())
    response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    aside = await resources.probes.set_aside() if found["database"] == OK else {}
    return Health(status=OK if ready else "unavailable", checks=found, set_aside=aside)


@_operators.get("/metrics", response_class=PrometheusText)
async def get_metrics(resources: WithResources) -> PrometheusText:
    """Tell Prometheus what this process counts, and how the jobs stand.

    From another machine with a key of the first project, or at the port of
    `SECATEUR_TELEMETRY__METRICS_PORT`.
    """
    now = await state(resources.probes)
    return PrometheusText(generate_latest(REGISTRY) + generate_latest(now))


async def state(probes: Probes) -> State:
    """How the dependencies and the jobs stand."""
    ready = {name: found == OK for name, found in (await probes.checks()).items()}
    now = await probes.load() if ready["database"] else None
    if now is None:
        return State(ready)
    return State(ready, now.jobs, now.waiting, now.oldest_seconds, now.set_aside)


router.include_router(_operators)


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
