"""Refuses requests beyond a number in work at a time; health probes are always answered."""

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.http.observed import QUIET
from app.api.http.problems import CLOSE, problem

CODE = "overloaded"


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
            answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, CODE, detail, headers=headers)
            await answer(scope, receive, send)
            return
        self._working += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._working -= 1
