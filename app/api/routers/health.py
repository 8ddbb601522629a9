"""Health, without a key: `/livez` says the process answers, `/readyz` that it can do its work."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import Resources, WithResources
from app.db import migrate

router = APIRouter(tags=["health"])

OK = "ok"


class Health(BaseModel):
    """`ok`, or what is wrong, per dependency."""

    status: str
    checks: dict[str, str]


@router.get("/livez")
def livez() -> Health:
    """Answer as long as the process lives."""
    return Health(status=OK, checks={})


def _database(resources: Resources) -> str:
    try:
        with resources.engine.connect() as connection:
            return OK if migrate.current(connection) else "migrations are missing"
    except SQLAlchemyError:
        return "not reachable"


def _queue(resources: Resources) -> str:
    try:
        resources.queue.ping()
    except (RedisError, OSError):
        return "not reachable"
    return OK


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(resources: WithResources, response: Response) -> Health:
    """Name every dependency that is missing; 503 while one is."""
    checks = {"database": _database(resources), "queue": _queue(resources)}
    ready = all(state == OK for state in checks.values())
    response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Health(status=OK if ready else "unavailable", checks=checks)
