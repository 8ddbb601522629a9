"""For machines: does the process answer, can it do its work, what does it count?"""

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.api.health.schemas import Health
from app.api.http.deps import WithResources
from app.api.http.guests import OperatorRoute
from app.api.http.readiness import OK, Probes
from app.telemetry.metrics.state import State

router = APIRouter(tags=["health"])
_operators = APIRouter(tags=["health"], route_class=OperatorRoute)


class PrometheusText(Response):
    """Prometheus' text format."""

    media_type = CONTENT_TYPE_PLAIN_0_0_4


@router.get("/livez")
async def livez() -> Health:
    """Answer as long as the process lives."""
    return Health(status=OK, checks={})


@router.get("/readyz", responses={503: {"model": Health, "description": "What is missing"}})
async def readyz(resources: WithResources, response: Response) -> Health:
    """Name every dependency that is missing; 503 while one is.

    Items that maintenance has set aside are counted, and keep nobody from being served.
    """
    found = await resources.probes.checks()
    ready = all(state == OK for state in found.values())
    response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    aside = await resources.probes.set_aside() if found["database"] == OK else {}
    return Health(status=OK if ready else "unavailable", checks=found, set_aside=aside)


@_operators.get("/metrics", response_class=PrometheusText)
async def metrics(resources: WithResources) -> PrometheusText:
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
