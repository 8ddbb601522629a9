"""Endpoints in a transaction: who calls is found out, the work is done and committed in one thread.

An endpoint that takes a `Reader`, `Submitter`, `Admin` or `Operator`, and mostly a `Transaction`,
on a router of this class is called with both. A hand-over between threads costs more than a query;
as dependencies of FastAPI's kind, the two would take three.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, get_args

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import Connection

from app.api.http.body_limit import announced_bytes
from app.api.http.deps import Credentials, Needs, Resources, WithResources, admit, bearer, identify

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
    credentials: Credentials

    def known(self, needs: Needs) -> None:
        """Raise where the caller may not ask; not counted as a request."""
        self.resources.breaker.check()
        with self.resources.engine.begin() as connection:
            needs.checked(identify(connection, self.credentials))

    @contextmanager
    def admitted(self, needs: Needs) -> Iterator[dict[type, Any]]:
        """What the endpoint is to be called with, by the mark of the parameter."""
        self.resources.breaker.check()
        with self.resources.engine.begin() as connection:
            caller = admit(self.request, self.resources, connection, self.credentials)
            yield {Needs: needs.checked(caller), _Transaction: connection}


async def _visit(request: Request, resources: WithResources, credentials: Credentials) -> _Visit:
    resources.breaker.check()  # before it waits for a thread, and in the thread again
    return _Visit(request, resources, credentials)


class TransactionRoute(APIRoute):
    """A route whose endpoint may take a caller and a transaction."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """As `APIRoute`."""
        marks = _marks(endpoint)
        self._needs = next((mark for mark in marks.values() if isinstance(mark, Needs)), None)
        if self._needs is not None:
            status = options.get("status_code") or HTTPStatus.OK
            endpoint = _admitting(endpoint, marks, self._needs, status)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler; who may not ask hears nothing of what was wrong with the request."""
        handle, needs = super().get_route_handler(), self._needs
        if needs is None:
            return handle
        has_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            if has_body:
                await _read_body(request, needs)
            try:
                return await handle(request)
            except RequestValidationError:
                visit = _Visit(request, request.state.resources, await bearer(request))
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


async def _read_body(request: Request, needs: Needs) -> None:
    """Read the body for FastAPI, which takes what goes wrong on the way for a body that is no JSON.

    One of more than a few bytes is read once it is clear that the caller may send it.
    """
    announced = announced_bytes(request.headers)
    if announced is None or announced > SMALL:
        visit = _Visit(request, request.state.resources, await bearer(request))
        await run_sync(visit.known, needs)
    await request.body()


def _marks(endpoint: Callable[..., Any]) -> dict[str, Needs | _Transaction]:
    """The marked parameters by name."""
    return {
        name: mark
        for name, parameter in inspect.signature(endpoint).parameters.items()
        for mark in get_args(parameter.annotation)[1:]
        if isinstance(mark, Needs | _Transaction)
    }


def _admitting(
    endpoint: Callable[..., Any],
    marks: dict[str, Needs | _Transaction],
    needs: Needs,
    status: int,
) -> Callable[..., Any]:
    """The endpoint with one parameter, the visit, in place of those marked."""
    queues = _Transaction(queues=True) in marks.values()

    @functools.wraps(endpoint)
    def run(*, visit: _Visit, **values: Any) -> Any:
        with visit.admitted(needs) as found:
            given = {name: found[type(mark)] for name, mark in marks.items()}
            answer = endpoint(**values, **given)
        if queues:
            visit.resources.announcer.queued()
        return _written(answer, values, status)

    signature = inspect.signature(endpoint)
    kept = [parameter for name, parameter in signature.parameters.items() if name not in marks]
    visiting = Annotated[_Visit, Depends(_visit)]
    visit = inspect.Parameter("visit", inspect.Parameter.KEYWORD_ONLY, annotation=visiting)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # as inspect documents
        parameters=[*(each.replace(kind=visit.kind) for each in kept), visit]
    )
    return run
