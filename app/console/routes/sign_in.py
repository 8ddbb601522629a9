"""`/console/sign-in` and `/console/sign-out`: a key, or a sign-in at the issuer, for a session.

The sign-in at the issuer is begun and ended by pages of their own. Between the two the browser
keeps the attempt in a cookie, so that nobody can sign somebody else in.
"""

import logging
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.http.endpoints import SMALL, Proof, Resources, WithResources, identify
from app.api.http.middleware import announced_bytes
from app.console.pages import page
from app.console.sessions import COOKIE, Sessions
from app.console.visits import (
    HOME,
    ROOT,
    SIGN_IN,
    PageRoute,
    SignedIn,
    address_of,
    is_secure,
    read_form,
    refuse_other_sites,
)
from app.domain.projects import Caller, KeyInvalidError
from app.domain.tokens import Grant, SignInError, TokenError
from app.errors import AccessError, BodyTooLargeError
from app.oidc.sign_in import Attempt, SignIn

logger = logging.getLogger("secateur.console")

router = APIRouter(prefix=ROOT, route_class=PageRoute, include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]
CALLBACK = f"{SIGN_IN}/callback"
ATTEMPT = "secateur_sign_in"
_ATTEMPT_SECONDS = 600
_NEXT = "secateur_sign_in_next"


async def _issuer(request: Request) -> SignIn:
    found: SignIn | None = request.state.sign_in
    if found is None:
        raise SignInError("this console is for API keys; no issuer is set up for it")
    return found


AtIssuer = Annotated[SignIn, Depends(_issuer)]


@router.get("")
async def home() -> Response:
    """On to the jobs."""
    return RedirectResponse(HOME, HTTPStatus.SEE_OTHER)


@router.get("/sign-in")
async def form(request: Request, following: Next = HOME) -> Response:
    """Ask for a key."""
    return _asking(request, following)


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
        return _asking(request, following, error)
    return _begun(request, following, caller, caller.id)


@router.get("/sign-in/issuer")
async def leave(request: Request, issuer: AtIssuer, following: Next = HOME) -> Response:
    """On to the issuer, which sends the browser back."""
    attempt = Attempt()
    address = await issuer.address(attempt, address_of(request) + CALLBACK)
    answer = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    _keep(request, answer, ATTEMPT, str(attempt), _ATTEMPT_SECONDS, SIGN_IN)
    _keep(request, answer, _NEXT, quote(_inside(following)), _ATTEMPT_SECONDS, SIGN_IN)
    return answer


@router.get("/sign-in/callback")
async def come_back(request: Request, resources: WithResources, issuer: AtIssuer) -> Response:
    """Begin a session of whoever comes back from the issuer."""
    following = unquote(request.cookies.get(_NEXT, HOME))
    attempt = Attempt.of(request.cookies.get(ATTEMPT, ""))
    try:
        back = address_of(request) + CALLBACK
        grant = await issuer.finish(attempt, request.query_params, back)
        caller = await run_sync(_identify, resources, grant)
    except (SignInError, TokenError) as error:
        answer: Response = _asking(request, following, error)
    else:
        answer = _begun(request, following, caller, grant, issuer.seconds)
    for name in (ATTEMPT, _NEXT):
        answer.delete_cookie(name, path=SIGN_IN)
    return answer


@router.post("/sign-out")
async def sign_out(_: SignedIn) -> Response:
    """End the session in this browser."""
    answer = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path=ROOT)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def _asking(request: Request, following: str, wrong: AccessError | None = None) -> HTMLResponse:
    """The page that asks to sign in, and says what was wrong with the last try."""
    issuer: SignIn | None = request.state.sign_in
    return page(
        "sign_in.html",
        wrong.status if wrong else HTTPStatus.OK,
        following=_inside(following),
        wrong=str(wrong) if wrong else None,
        issuer=urlsplit(issuer.issuer.url).netloc if issuer else None,
    )


def _begun(
    request: Request,
    following: str,
    caller: Caller,
    holder: str | Grant,
    seconds: int | None = None,
) -> Response:
    """On to where somebody wanted to go, with a session."""
    logger.info("%s signed in to the console", caller.id)
    sessions: Sessions = request.state.sessions
    answer = RedirectResponse(_inside(following), HTTPStatus.SEE_OTHER)
    lasts = sessions.seconds if seconds is None else min(seconds, sessions.seconds)
    _keep(request, answer, COOKIE, sessions.begin(holder, lasts).token, lasts, ROOT)
    return answer


def _keep(
    request: Request, answer: Response, name: str, value: str, seconds: int, path: str
) -> None:
    """Have the browser keep a cookie that scripts and other sites do not see."""
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def _identify(resources: Resources, proof: Proof) -> Caller:
    resources.breaker.check()
    with resources.engine.begin() as connection:
        return identify(connection, proof)


def _inside(address: str) -> str:
    """The address where it is a page of the console; another could lead anywhere."""
    plain = address.isprintable() and "\\" not in address and ".." not in address
    return address if plain and address.startswith(f"{ROOT}/") else HOME
