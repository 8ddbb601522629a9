"""Refuses request bodies above a size, announced or streamed, before they fill the memory."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem

CODE = "body_too_large"


class BodyLimit:
    """ASGI middleware around the whole app.

    The body is read here, up to the limit, and handed on: the endpoints take small JSON documents
    as a whole, so nothing is lost by not streaming.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, streamed: Collection[str] = ()) -> None:
        """Guard every path but those of `streamed`, whose endpoints count for themselves."""
        self.app = app
        self.streamed = streamed
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413."""
        small = scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}
        if small or scope["path"] in self.streamed:
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await self._refuse(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await self._refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        first: list[Message] = [{**message, "body": body}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the request body is larger than {self.max_bytes} bytes"
        headers = {"Connection": "close"}
        answer = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, CODE, detail, headers=headers)
        await answer(scope, receive, send)
