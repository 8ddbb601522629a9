"""What routers ask for: the app's resources, a transaction, an authenticated caller."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypedDict

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, Engine

from app.api.announcer import Announcer
from app.api.breaker import Breaker
from app.api.feeds import Hub
from app.api.readiness import Probes
from app.api.turns import Turns
from app.domain.access import DEFAULT_PROJECT, Caller, Scope
from app.domain.errors import KeyMissingError, RateLimitError, ScopeError
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.services import keys
from app.services.submissions import Rules
from app.settings import Settings
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
    rules: Rules
    announcer: Announcer
    breaker: Breaker
    probes: Probes
    uploads: Turns


class State(TypedDict):
    """The lifespan state."""

    resources: Resources


async def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


WithResources = Annotated[Resources, Depends(_resources)]


bearer = HTTPBearer(auto_error=False, description="an API key: `secateur keys create`")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def identify(connection: Connection, credentials: Credentials) -> Caller:
    """Who calls.

    Raises:
        KeyMissingError: nobody says so.
        KeyInvalidError: no live key has this secret.
    """
    if credentials is None:
        raise KeyMissingError("send an API key as `Authorization: Bearer <key>`")
    return keys.authenticate(connection, credentials.credentials)


def admit(
    request: Request, resources: Resources, connection: Connection, credentials: Credentials
) -> Caller:
    """Who calls, counted against the project's rate.

    Raises:
        KeyMissingError: nobody says so.
        KeyInvalidError: no live key has this secret.
        RateLimitError: the project has had its requests of this minute.
    """
    caller = identify(connection, credentials)
    rate = resources.rates.take(caller.project_id, caller.limits.requests_per_minute)
    if rate is not None:
        request.state.rate = rate
        if rate.exceeded:
            raise RateLimitError(f"more than {rate.limit} requests in a minute")
    return caller


@dataclass(frozen=True, slots=True)
class Needs:
    """Marks the parameter of an endpoint that takes the caller, and says who may call.

    Attributes:
        scope: of the key.
        operator: whether it must be of the first project.
    """

    scope: Scope
    operator: bool = False

    def checked(self, caller: Caller) -> Caller:
        """The caller.

        Raises:
            ScopeError: its key may not do this.
        """
        if not caller.scope.includes(self.scope):
            raise ScopeError(f"this needs a key of scope {self.scope}; this one has {caller.scope}")
        if self.operator and caller.project_id != DEFAULT_PROJECT:
            raise ScopeError("this needs a key of the first project, which is the operator's")
        return caller


# Callers of endpoints on a `TransactionRoute`.
Reader = Annotated[Caller, Needs(Scope.READ)]
Submitter = Annotated[Caller, Needs(Scope.SUBMIT)]
Admin = Annotated[Caller, Needs(Scope.ADMIN)]
# Who runs the service: sees that there are other projects.
Operator = Annotated[Caller, Needs(Scope.ADMIN, operator=True)]


def _alone(needs: Needs) -> Callable[[Request, Resources, Credentials], Caller]:
    def allowed(request: Request, resources: WithResources, credentials: Credentials) -> Caller:
        resources.breaker.check()
        with resources.engine.begin() as connection:
            return needs.checked(admit(request, resources, connection, credentials))

    return allowed


# Callers of endpoints that wait, stream or receive, and hold no connection meanwhile.
Watcher = Annotated[Caller, Depends(_alone(Needs(Scope.READ)))]
Uploader = Annotated[Caller, Depends(_alone(Needs(Scope.SUBMIT)))]
LoneAdmin = Annotated[Caller, Depends(_alone(Needs(Scope.ADMIN)))]


async def _rules(resources: WithResources) -> Rules:
    return resources.rules


WithRules = Annotated[Rules, Depends(_rules)]

IfMatch = Annotated[
    str | None,
    Header(description="an ETag: change it only in the state you have seen"),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="any text of yours; for 24 h, the same request with the same key takes "
        "effect once; later answers tell what it made as it is then",
    ),
]
