"""Pages for browsers, and what this machine may see without a key: metrics and documentation.

Browsers cannot send a bearer by themselves. They ask their user for a name and a password: any
name does, the password is the key.
"""

import base64
import binascii
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, ClassVar

from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials

from app.api.http.endpoints import (
    Needs,
    Proof,
    Resources,
    TransactionRoute,
    identify,
    prove,
)
from app.api.http.problems import problem
from app.domain.projects import Scope
from app.errors import SecateurError

# Set by proxies: then it is not this machine that asks, wherever the connection comes from.
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_AUTHORIZATION = b"authorization"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Secateur: any name, an API key as password"'}


def is_local(request: Request) -> bool:
    """Does a program on this machine ask for itself?"""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


class GuestRoute(APIRoute):
    """A route that asks for a key only where the caller is elsewhere."""

    needs: ClassVar[Needs] = Needs(Scope.READ)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        handle, needs = super().get_route_handler(), self.needs

        async def guarded(request: Request) -> Response:
            if not is_local(request):
                try:
                    resources = request.state.resources
                    proof = await prove(resources, _credentials(request))
                    await run_sync(_check, resources, needs, proof)
                except SecateurError as error:
                    status = error.status
                    headers = _CHALLENGE if status is HTTPStatus.UNAUTHORIZED else None
                    return problem(status, error.code, str(error), headers=headers)
            return await handle(request)

        return guarded


class BrowserRoute(TransactionRoute):
    """A route whose caller may also be a browser, with the key as password."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler; without a key the browser asks its user for one."""
        handle = super().get_route_handler()

        async def opened(request: Request) -> Response:
            try:
                return await handle(_with_bearer(request))
            except SecateurError as error:
                status = error.status
                if status is not HTTPStatus.UNAUTHORIZED:
                    raise
                return problem(status, error.code, str(error), headers=_CHALLENGE)

        return opened


def _with_bearer(request: Request) -> Request:
    """The request as if its key had come as a bearer."""
    found = _credentials(request)
    if found is None:
        return request
    others = [(name, value) for name, value in request.scope["headers"] if name != _AUTHORIZATION]
    bearer = (_AUTHORIZATION, f"Bearer {found.credentials}".encode("latin-1", "replace"))
    return Request({**request.scope, "headers": [*others, bearer]}, request.receive)


class OperatorRoute(GuestRoute):
    """A guest route whose answer tells of all projects."""

    needs = Needs(Scope.READ, operator=True)


def _check(resources: Resources, needs: Needs, proof: Proof) -> None:
    resources.breaker.check()
    with resources.engine.begin() as connection:
        needs.checked(identify(connection, proof))


def _credentials(request: Request) -> HTTPAuthorizationCredentials | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            key = value.strip()
        case "basic":
            try:
                key = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return None
        case _:
            return None
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=key)
