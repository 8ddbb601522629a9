"""What routers ask for: the app's resources, a transaction, an authenticated caller."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypedDict

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, Engine

from app.api.feeds import Hub
from app.domain.access import DEFAULT_PROJECT, Caller, Scope
from app.domain.errors import KeyMissingError, RateLimitError, ScopeError
from app.outlines import Outlines
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
    outlines: Outlines


class State(TypedDict):
    """The lifespan state."""

    resources: Resources


async def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


WithResources = Annotated[Resources, Depends(_resources)]


_bearer = HTTPBearer(auto_error=False, description="an API key: `secateur keys create`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _admit(
    request: Request, resources: Resources, connection: Connection, credentials: Credentials
) -> Caller:
    """Who calls, counted against the project's rate."""
    if credentials is None:
        raise KeyMissingError("send an API key as `Authorization: Bearer <key>`")
    caller = keys.authenticate(connection, credentials.credentials)
    rate = resources.rates.take(caller.project_id, caller.limits.requests_per_minute)
    if rate is not None:
        request.state.rate = rate
        if rate.exceeded:
            raise RateLimitError(f"more than {rate.limit} requests in a minute")
    return caller


@dataclass(frozen=True, slots=True)
class _Session:
    connection: Connection
    caller: Caller


async def _open(
    request: Request, resources: WithResources, credentials: Credentials
) -> AsyncIterator[_Session]:
    """One connection and one transaction for the request, its caller found out on the way."""

    def begin() -> _Session:
        connection = resources.engine.connect()
        try:
            return _Session(connection, _admit(request, resources, connection, credentials))
        except BaseException:
            connection.close()
            raise

    session = await run_sync(begin)
    try:
        yield session
        # An endpoint that has committed itself saves a change of threads.
        if session.connection.in_transaction():
            await run_sync(session.connection.commit)
    finally:
        session.connection.close()


# scope="function": the commit happens before the answer is sent, so no client is told of a job
# that was not stored.
_Opened = Annotated[_Session, Depends(_open, scope="function")]


async def _connection(session: _Opened) -> Connection:
    return session.connection


Transaction = Annotated[Connection, Depends(_connection)]


def authenticated(request: Request, resources: WithResources, credentials: Credentials) -> Caller:
    """Who calls an endpoint that waits, streams or receives, and holds no connection meanwhile."""
    with resources.engine.begin() as connection:
        return _admit(request, resources, connection, credentials)


def _check(caller: Caller, scope: Scope) -> Caller:
    if not caller.scope.includes(scope):
        raise ScopeError(f"this needs a key of scope {scope}; this one has {caller.scope}")
    return caller


def _within(scope: Scope) -> Callable[[_Session], Awaitable[Caller]]:
    async def allowed(session: _Opened) -> Caller:
        return _check(session.caller, scope)

    return allowed


def _alone(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def allowed(caller: Annotated[Caller, Depends(authenticated)]) -> Caller:
        return _check(caller, scope)

    return allowed


# Callers inside the request's transaction.
Reader = Annotated[Caller, Depends(_within(Scope.READ))]
Submitter = Annotated[Caller, Depends(_within(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(_within(Scope.ADMIN))]


async def _operating(caller: Admin) -> Caller:
    if caller.project_id != DEFAULT_PROJECT:
        raise ScopeError("this needs an admin key of the first project, which is the operator's")
    return caller


# Who runs the service: sees that there are other projects.
Operator = Annotated[Caller, Depends(_operating)]
# Callers of endpoints that hold none.
Watcher = Annotated[Caller, Depends(_alone(Scope.READ))]
Uploader = Annotated[Caller, Depends(_alone(Scope.SUBMIT))]


async def _rules(resources: WithResources) -> Rules:
    settings = resources.settings
    return Rules(
        outlines=resources.outlines,
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
