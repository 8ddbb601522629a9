"""Bounds request bodies in bytes and in time as they come; whoever asks for them is told.

Nothing is read before an endpoint asks for it, so who may not send a body costs no memory.
"""

import asyncio
import time
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.problems import CLOSE, problem
from app.errors import BodyTooLargeError, BodyTooSlowError

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
