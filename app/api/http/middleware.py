"""What every request passes on its way in: it is named, counted, admitted and bounded.

Each class is ASGI middleware around the whole app.
"""

import asyncio
import logging
import re
import time
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.api.http.problems import CLOSE, problem
from app.errors import BodyTooLargeError, BodyTooSlowError
from app.ids import REQUEST_ID, new_id
from app.telemetry.metrics import api as metrics

logger = logging.getLogger("secateur.api")

HEADER = "X-Request-Id"
# Asked every few seconds by machines.
QUIET = {"/livez", "/readyz", "/metrics"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
UNKNOWN = "unknown"
_ID = re.compile(r"[\w.:-]{1,128}")


class Observed:
    """ASGI middleware around the whole app.

    A client may name its request with `X-Request-Id`; the answer carries the id in any case, and
    the `RateLimit` fields where the request was counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.fullmatch(given) else new_id("req")
        # Every request is a task of its own: what is bound here ends with it.
        clear_contextvars()
        bind_contextvars(**{REQUEST_ID: request_id})
        answer = _Answer(scope, send, request_id)
        started = time.perf_counter()
        try:
            await self.app(scope, receive, answer.send)
        finally:
            _count(scope, answer, time.perf_counter() - started)


class _Answer:
    """What is sent on its way to the client. Without a head, the server answers with 500."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.status = 500
        self.size = 0
        self._scope = scope
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[HEADER] = self._request_id
            rate = self._scope.get("state", {}).get("rate")
            if rate is not None:
                headers.update(rate.headers())
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _names(scope: Scope) -> tuple[str, str]:
    """Method and route template, from closed sets whatever clients send."""
    method = scope["method"] if scope["method"] in METHODS else UNKNOWN
    return method, getattr(scope.get("route"), "path", UNKNOWN)


def _count(scope: Scope, answer: _Answer, seconds: float) -> None:
    method, route = _names(scope)
    metrics.REQUESTS.labels(method, route, answer.status).inc()
    metrics.REQUEST_SECONDS.labels(method, route).observe(seconds)
    metrics.BYTES_SERVED.labels(route).inc(answer.size)
    if route not in QUIET:
        logger.info(
            "%s %s %d",
            scope["method"],
            _target(scope),
            answer.status,
            extra={"milliseconds": round(1e3 * seconds)},
        )


def _target(scope: Scope) -> str:
    """What was asked for, as it came: quoted, so it stays on its line."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" * bool(query) + query).decode("latin-1")


OVERLOADED = "overloaded"


class Admission:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 503 at once."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self.app(scope, receive, send)
            return
        if self._working >= self.most:
            detail = f"the service has {self.most} requests in work; try again"
            headers = CLOSE | {"Retry-After": "1"}
            answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED, detail, headers=headers)
            await answer(scope, receive, send)
            return
        self._working += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._working -= 1


# Slower than this (bytes a second), after the seconds that any body has, nobody sends a body.
SLOWEST = 4096


class BodyLimit:
    """ASGI middleware around the whole app."""

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, seconds: float, streamed: Collection[str] = ()
    ) -> None:
        """Bound all bodies in time, and in size but for paths in `streamed`, which count."""
        self.app = app
        self.streamed = streamed
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 where its head tells."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = None if scope["path"] in self.streamed else self.max_bytes
        announced = announced_bytes(Headers(scope=scope))
        body = _Body(receive, send, most, self.seconds)
        if most is not None and announced is not None and announced > most:
            error = _too_large(most)
            answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error.code, str(error))
            await answer(scope, receive, body.send)
            return
        body.complete = announced == 0
        await self.app(scope, body.receive, body.send)


def announced_bytes(headers: Headers) -> int | None:
    """How long the body is to be; None where only its end will tell."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else None


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the request body is larger than {most} bytes")


class _Body:
    """A body on its way; what is sent while it is not complete closes the connection."""

    def __init__(self, receive: Receive, send: Send, most: int | None, seconds: float) -> None:
        self.complete = False
        self._receive, self._send = receive, send
        self._most, self._seconds = most, seconds
        self._size = 0
        self._began: float | None = None

    async def receive(self) -> Message:
        if self.complete:
            return await self._receive()
        if self._began is None:
            self._began = time.monotonic()
        left = self._began + self._seconds + self._size / SLOWEST - time.monotonic()
        try:
            async with asyncio.timeout(left):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlowError("the request body comes too slowly; send it again") from None
        self._size += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self._most is not None and self._size > self._most:
            self.complete = False
            raise _too_large(self._most)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.complete:
            MutableHeaders(scope=message).update(CLOSE)
        await self._send(message)
