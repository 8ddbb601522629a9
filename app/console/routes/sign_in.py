"""`/console/sign-in` and `/console/sign-out`: an API key for a session."""

import logging
from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.api.http.endpoints import SMALL, Resources, WithResources
from app.api.http.middleware import announced_bytes
from app.console.pages import page
from app.console.sessions import COOKIE, Sessions
from app.console.visits import (
    HOME,
    ROOT,
    SIGN_IN,
    PageRoute,
    SignedIn,
    is_secure,
    read_form,
    refuse_other_sites,
)
from app.domain.projects import Caller, KeyInvalidError
from app.errors import BodyTooLargeError
from app.services.projects import service as projects

logger = logging.getLogger("secateur.console")

router = APIRouter(prefix=ROOT, route_class=PageRoute, include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]


@router.get("")
async def home() -> Response:
    """On to the jobs."""
    return RedirectResponse(HOME, HTTPStatus.SEE_OTHER)


@router.get("/sign-in")
async def form(following: Next = HOME) -> Response:
    """Ask for a key."""
    return page("sign_in.html", following=_inside(following), wrong=None)


@router.post("/sign-in")
async def sign_in(request: Request, resources: WithResources) -> Response:
    """Begin a session, where the key is one."""
    refuse_other_sites(request)
    announced = announced_bytes(request.headers)
    if announced is None or announced > SMALL:  # anybody may send this, so little of it is held
        raise BodyTooLargeError(f"a sign-in has at most {SMALL} bytes, and says how many it has")
    sent = await read_form(request)
    secret, following = (sent.get(name, [""])[0].strip() for name in ("key", "next"))
    try:
        caller = await run_sync(_identify, resources, secret)
    except KeyInvalidError as error:
        status = HTTPStatus.UNAUTHORIZED
        return page("sign_in.html", status, following=_inside(following), wrong=str(error))
    logger.info("%s signed in to the console", caller.id)
    sessions: Sessions = request.state.sessions
    answer = RedirectResponse(_inside(following), HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        sessions.begin(caller.id).token,
        max_age=sessions.seconds,
        path=ROOT,
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return answer


@router.post("/sign-out")
async def sign_out(_: SignedIn) -> Response:
    """End the session in this browser."""
    answer = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path=ROOT)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def _identify(resources: Resources, secret: str) -> Caller:
    resources.breaker.check()
    with resources.engine.begin() as connection:
        return projects.authenticate(connection, secret)


def _inside(address: str) -> str:
    """The address where it is a page of the console; another could lead anywhere."""
    plain = address.isprintable() and "\\" not in address and ".." not in address
    return address if plain and address.startswith(f"{ROOT}/") else HOME
