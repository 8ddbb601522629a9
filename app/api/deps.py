"""What routers ask for: the app's resources, a transaction, an authenticated caller."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypedDict

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, Engine

from app.domain.errors import KeyMissingError
from app.queue import CeleryQueue
from app.services import keys
from app.settings import Settings
from app.storage.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class Resources:
    """What the running app owns."""

    settings: Settings
    engine: Engine
    queue: CeleryQueue
    store: ArtifactStore


class State(TypedDict):
    """The lifespan state."""

    resources: Resources


def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


WithResources = Annotated[Resources, Depends(_resources)]


def _transaction(resources: WithResources) -> Iterator[Connection]:
    with resources.engine.begin() as connection:
        yield connection


# scope="function": the commit happens before the answer is sent, so no client is told of a job
# that was not stored.
Transaction = Annotated[Connection, Depends(_transaction, scope="function")]

_bearer = HTTPBearer(auto_error=False, description="an API key: `secateur keys create`")


def authenticated(
    transaction: Transaction,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """The id of the caller's API key."""
    if credentials is None:
        raise KeyMissingError("send an API key as `Authorization: Bearer <key>`")
    return keys.authenticate(transaction, credentials.credentials)
