"""Names, counts and times every request: one id, one line. Its span is FastAPI's own."""

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.ids import new_id
from app.telemetry.context import REQUEST_ID
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

    A client may name its request with `X-Request-Id`; the answer carries the id in any case.
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
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        try:
            await self.app(scope, receive, answer.send)
        finally:
            _count(scope, answer, time.perf_counter() - started)


class _Answer:
    """What is sent on its way to the client. Without a head, the server answers with 500."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 500
        self.size = 0
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._request_id
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
