"""Adds the `RateLimit` fields to every answer to a request that was counted, errors included."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RateFields:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the fields come with the answer's head."""

        async def sending(message: Message) -> None:
            rate = scope.get("state", {}).get("rate")
            if message["type"] == "http.response.start" and rate is not None:
                MutableHeaders(scope=message).update(rate.headers())
            await send(message)

        await self.app(scope, receive, sending)
