"""What routers ask for: the app's resources, a transaction, an authenticated caller."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypedDict

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, Engine

from app.api.feeds import Hub
from app.domain.access import Caller, Scope
from app.domain.errors import KeyMissingError, RateLimitError, ScopeError
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.services import keys
from app.services.submissions import Rules
from app.settings import Settings
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class Resources:
    """What the running app owns."""

    settings: Settings
    engine: Engine
    queue: CeleryQueue
    store: ArtifactStore
    rates: RateLimiter
    hub: Hub


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
    request: Request,
    resources: WithResources,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """Who calls, counted against the project's rate.

    The connection is given back at once: an endpoint that waits or streams holds none.
    """
    if credentials is None:
        raise KeyMissingError("send an API key as `Authorization: Bearer <key>`")
    autocommit = resources.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        caller = keys.authenticate(connection, credentials.credentials)
    rate = resources.rates.take(caller.project_id, caller.limits.requests_per_minute)
    if rate is not None:
        request.state.rate = rate
        if rate.exceeded:
            raise RateLimitError(f"more than {rate.limit} requests in a minute")
    return caller


def _with(scope: Scope) -> Callable[[Caller], Caller]:
    def allowed(caller: Annotated[Caller, Depends(authenticated)]) -> Caller:
        if not caller.scope.includes(scope):
            raise ScopeError(f"this needs a key of scope {scope}; this one has {caller.scope}")
        return caller

    return allowed


Reader = Annotated[Caller, Depends(_with(Scope.READ))]
Submitter = Annotated[Caller, Depends(_with(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(_with(Scope.ADMIN))]


def _rules(resources: WithResources) -> Rules:
    settings = resources.settings
    return Rules(
        model_roots=settings.models.roots,
        store=resources.store,
        datasets=DatasetStore(settings.storage.dir),
        activation_bytes=settings.worker.activation_bytes,
        max_attempts=settings.worker.max_attempts,
        destinations=settings.publishing.destinations,
    )


WithRules = Annotated[Rules, Depends(_rules)]

IfMatch = Annotated[
    str | None,
    Header(description="an ETag: change the job only in the state you have seen"),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="any text of yours; for 24 h, the same request with the same key takes "
        "effect once and is answered alike",
    ),
]
