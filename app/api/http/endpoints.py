"""What endpoints ask for: the app's resources, an authenticated caller, a transaction.

An endpoint that takes a `Reader`, `Submitter`, `Admin` or `Operator`, and mostly a `Transaction`,
on a `TransactionRoute` is called with both, in one thread: who calls is found out, the work is done
and committed. A hand-over between threads costs more than a query; as dependencies of FastAPI's
kind, the two would take three.
"""

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypedDict, get_args

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Connection, Engine

from app.api.http.feeds import Hub
from app.api.http.middleware import announced_bytes
from app.api.http.readiness import Probes
from app.api.http.turns import Turns
from app.db.outbox import Announcer
from app.domain.projects import (
    DEFAULT_PROJECT,
    INCLUDED,
    Caller,
    KeyMissingError,
    RateLimitError,
    Scope,
    ScopeError,
)
from app.domain.tokens import Grant
from app.errors import DatabaseUnavailableError
from app.oidc.verifier import Verifier
from app.queue import CeleryQueue
from app.rate_limit import RateLimiter
from app.services.jobs.submit import Rules
from app.services.projects import service as projects
from app.services.projects.service import Made
from app.settings import Settings
from app.storage.store import ArtifactStore

BREAK_SECONDS = 2.0


class Breaker:
    """Spares requests the wait for a database that has just not answered another one.

    Open for a moment after each failure; then the next requests try.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def trip(self) -> None:
        """Note that the database did not answer."""
        self._until = time.monotonic() + BREAK_SECONDS

    def check(self) -> None:
        """Let a request go on.

        Raises:
            DatabaseUnavailableError: there is no point in it right now.
        """
        if time.monotonic() < self._until:
            raise DatabaseUnavailableError(
                "the database is not reachable right now; nothing was changed, try again"
            )


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
    verifier: Verifier | None


class State(TypedDict):
    """The lifespan state."""

    resources: Resources


async def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


WithResources = Annotated[Resources, Depends(_resources)]


bearer = HTTPBearer(auto_error=False, description="an API key: `secateur keys create`")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
Proof = str | Grant | None  # the secret of a key, what a token grants, or nothing


async def prove(resources: Resources, credentials: HTTPAuthorizationCredentials | None) -> Proof:
    """What a request brings; a token is verified, before anything waits for its issuer.

    Raises:
        TokenError: the token proves nothing.
        IssuerUnavailableError: it cannot be verified.
    """
    if credentials is None:
        return None
    given = credentials.credentials
    if resources.verifier is None or "." not in given:  # keys have none
        return given
    return await resources.verifier.verify(given)


async def _prove(request: Request, credentials: Bearer) -> Proof:
    return await prove(await _resources(request), credentials)


Credentials = Annotated[Proof, Depends(_prove)]


def identify(connection: Connection, proof: Proof) -> Caller:
    """Who calls.

    Raises:
        KeyMissingError: nobody says so.
        KeyInvalidError: no live key has this secret.
        TokenProjectUnknownError: the token's project does not exist.
    """
    if proof is None:
        raise KeyMissingError("send an API key as `Authorization: Bearer <key>`")
    if isinstance(proof, Grant):
        return projects.authenticate_token(connection, proof)
    return projects.authenticate(connection, proof)


def admit(request: Request, resources: Resources, connection: Connection, proof: Proof) -> Caller:
    """Who calls, counted against the project's rate.

    Raises:
        AccessError: as for `identify`.
        RateLimitError: the project has had its requests of this minute.
    """
    return counted(request, resources, identify(connection, proof))


def counted(request: Request, resources: Resources, caller: Caller) -> Caller:
    """The caller, whose request counts against the project's rate.

    Raises:
        RateLimitError: the project has had its requests of this minute.
    """
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
        scope: of the key or token.
        operator: whether it must be for the first project.
    """

    scope: Scope
    operator: bool = False

    def checked(self, caller: Caller) -> Caller:
        """The caller.

        Raises:
            ScopeError: its scope does not cover this.
        """
        if self.scope not in INCLUDED[caller.scope]:
            raise ScopeError(
                f"this needs the scope {self.scope}; the key or token has {caller.scope}"
            )
        if self.operator and caller.project_id != DEFAULT_PROJECT:
            raise ScopeError("this needs a key of the first project, which is the operator's")
        return caller


# Callers of endpoints on a `TransactionRoute`.
Reader = Annotated[Caller, Needs(Scope.READ)]
Submitter = Annotated[Caller, Needs(Scope.SUBMIT)]
Admin = Annotated[Caller, Needs(Scope.ADMIN)]
# Who runs the service: sees that there are other projects.
Operator = Annotated[Caller, Needs(Scope.ADMIN, operator=True)]


def _alone(needs: Needs) -> Callable[[Request, Resources, Proof], Caller]:
    def allowed(request: Request, resources: WithResources, proof: Credentials) -> Caller:
        resources.breaker.check()
        with resources.engine.begin() as connection:
            return needs.checked(admit(request, resources, connection, proof))

    return allowed


# Callers of endpoints that wait, stream or receive, and hold no connection meanwhile.
Watcher = Annotated[Caller, Depends(_alone(Needs(Scope.READ)))]
Uploader = Annotated[Caller, Depends(_alone(Needs(Scope.SUBMIT)))]
LoneAdmin = Annotated[Caller, Depends(_alone(Needs(Scope.ADMIN)))]


async def _rules(request: Request) -> Rules:
    return (await _resources(request)).rules


_RULES = Depends(_rules)  # on a `TransactionRoute`, a mark
WithRules = Annotated[Rules, _RULES]

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


JSON = "application/json"
SMALL = 16 << 10  # bytes of a body that anyone may have us hold


@dataclass(frozen=True, slots=True)
class _Transaction:
    """Marks the parameter that takes the connection.

    Attributes:
        queues: whether jobs are queued in it, for which the relay is woken.
    """

    queues: bool = False


# Committed before the answer is sent, so no client is told of a job that was not stored.
Transaction = Annotated[Connection, _Transaction()]
Queueing = Annotated[Connection, _Transaction(queues=True)]


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request at the door."""

    request: Request
    resources: Resources
    proof: Proof

    def known(self, needs: Needs) -> None:
        """Raise where the caller may not ask; not counted as a request."""
        self.resources.breaker.check()
        with self.resources.engine.begin() as connection:
            needs.checked(identify(connection, self.proof))

    @contextmanager
    def admitted(self, needs: Needs) -> Iterator[dict[type, Any]]:
        """What the endpoint is to be called with, by the mark of the parameter."""
        self.resources.breaker.check()
        with self.resources.engine.begin() as connection:
            caller = admit(self.request, self.resources, connection, self.proof)
            yield {
                Needs: needs.checked(caller),
                _Transaction: connection,
                type(_RULES): self.resources.rules,
            }


async def _arrive(request: Request) -> _Visit:
    """Take what the request brings.

    Raises:
        AccessError: as for `prove`.
        DatabaseUnavailableError: there is no point in waiting for a thread, which asks again.
    """
    resources = await _resources(request)
    resources.breaker.check()
    return _Visit(request, resources, await prove(resources, await bearer(request)))


_SECURED: dict[str, Any] = {"security": [{bearer.scheme_name: []}]}  # in the API document


class TransactionRoute(APIRoute):
    """A route whose endpoint may take a caller and a transaction."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """As `APIRoute`."""
        marks = _marks(endpoint)
        self._needs = next((mark for mark in marks.values() if isinstance(mark, Needs)), None)
        if self._needs is not None:
            status = options.get("status_code") or HTTPStatus.OK
            endpoint = _admitting(endpoint, marks, self._needs, status)
            options["openapi_extra"] = _SECURED | (options.get("openapi_extra") or {})
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler; who may not ask hears nothing of what was wrong with the request."""
        handle, needs = super().get_route_handler(), self._needs
        if needs is None:
            return handle
        has_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            visit = request.state.visit = await _arrive(request)
            if has_body:
                await _read_body(visit, needs)
            try:
                return await handle(request)
            except RequestValidationError:
                await run_sync(_check, visit, needs)
                raise

        return handler


def _written(answer: Any, values: dict[str, Any], status: int) -> Any:
    """The answer as JSON, if it is a model; FastAPI would take it to a thread for that again."""
    if not isinstance(answer, BaseModel):
        return answer
    told = next((value for value in values.values() if isinstance(value, Response)), None)
    status = (told.status_code if told else None) or status
    written = Response(answer.model_dump_json(by_alias=True), status, media_type=JSON)
    if told is not None:
        written.raw_headers.extend(told.raw_headers)
    return written


def _check(visit: _Visit, needs: Needs) -> None:
    with visit.admitted(needs):
        pass


async def _read_body(visit: _Visit, needs: Needs) -> None:
    """Read the body for FastAPI, which takes what goes wrong on the way for a body that is no JSON.

    One of more than a few bytes is read once it is clear that the caller may send it.
    """
    announced = announced_bytes(visit.request.headers)
    if announced is None or announced > SMALL:
        await run_sync(visit.known, needs)
    await visit.request.body()


def _marks(endpoint: Callable[..., Any]) -> dict[str, Any]:
    """The marked parameters by name."""
    return {
        name: mark
        for name, parameter in inspect.signature(endpoint).parameters.items()
        for mark in get_args(parameter.annotation)[1:]
        if isinstance(mark, Needs | _Transaction) or mark is _RULES
    }


def _admitting(
    endpoint: Callable[..., Any],
    marks: dict[str, Any],
    needs: Needs,
    status: int,
) -> Callable[..., Any]:
    """The endpoint with one parameter, the request, in place of those marked.

    The visit is no dependency of FastAPI's: each costs its share of every request.
    """
    queues = _Transaction(queues=True) in marks.values()

    @functools.wraps(endpoint)
    def run(*, request_: Request, **values: Any) -> Any:
        visit: _Visit = request_.state.visit
        with visit.admitted(needs) as found:
            given = {name: found[type(mark)] for name, mark in marks.items()}
            answer = endpoint(**values, **given)
        if queues:
            visit.resources.announcer.news.set()
        return _written(answer, values, status)

    signature = inspect.signature(endpoint)
    kept = [parameter for name, parameter in signature.parameters.items() if name not in marks]
    added = inspect.Parameter("request_", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # as inspect documents
        parameters=[*(each.replace(kind=added.kind) for each in kept), added]
    )
    return run


def once(
    response: Response,
    connection: Connection,
    caller: Caller,
    *,
    key: str | None,
    payload: object,
    make: Callable[[], Made],
    again: Callable[[str], Made],
) -> Made:
    """`make()`, or what came of it when the same request came first; marks a replay as one.

    For endpoints that take an Idempotency-Key.
    """
    made, replayed = projects.once(connection, caller, key, payload, make=make, again=again)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return made
