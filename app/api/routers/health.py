"""For machines, without a key: does the process answer, can it do its work, what does it count?"""

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import Resources, WithResources
from app.api.readiness import OK, checks, set_aside
from app.api.schemas.health import Health
from app.db.load import load
from app.telemetry.metrics.state import State

router = APIRouter(tags=["health"])


class PrometheusText(Response):
    """Prometheus' text format."""

    media_type = CONTENT_TYPE_PLAIN_0_0_4


@router.get("/livez")
def livez() -> Health:
    """Answer as long as the process lives."""
    return Health(status=OK, checks={})


@router.get("/readyz", responses={503: {"model": Health, "description": "What is missing"}})
def readyz(resources: WithResources, response: Response) -> Health:
    """Name every dependency that is missing; 503 while one is.

    Items that maintenance has set aside are counted, and keep nobody from being served.
    """
    found = checks(resources)
    ready = all(state == OK for state in found.values())
    response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    status = OK if ready else "unavailable"
    return Health(status=status, checks=found, set_aside=set_aside(resources))


@router.get("/metrics", response_class=PrometheusText)
def metrics(resources: WithResources) -> PrometheusText:
    """Tell Prometheus what this process counts, and how the jobs stand."""
    return PrometheusText(generate_latest(REGISTRY) + generate_latest(_state(resources)))


def _state(resources: Resources) -> State:
    ready = {name: state == OK for name, state in checks(resources).items()}
    try:
        with resources.engine.connect() as connection:
            now = load(connection)
    except SQLAlchemyError:
        return State(ready)
    return State(ready, now.jobs, now.waiting, now.oldest_seconds, now.set_aside)
