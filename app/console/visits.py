"""What pages ask for: somebody who has signed in, the form that was sent, a transaction.

Problems of the API become pages here, and who has not signed in is asked to.
"""

import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from sqlalchemy import Connection

from app.api.http import problems
from app.api.http.endpoints import Needs, Resources, WithResources, counted
from app.console.pages import page, protect
from app.console.sessions import COOKIE, Session, Sessions
from app.domain.projects import (
    INCLUDED,
    Caller,
    ForgedRequestError,
    KeyInvalidError,
    Project,
    Scope,
    SessionMissingError,
)
from app.domain.tokens import Grant, TokenProjectUnknownError
from app.services.projects import service as projects

ROOT = "/console"
HOME = f"{ROOT}/jobs"
SIGN_IN = f"{ROOT}/sign-in"
MOST_FIELDS = 500  # of a form
CSRF = "csrf_token"
_CSRF_HEADER = "x-csrf-token"

Form = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a page is made: a transaction, and who asks.

    Attributes:
        connection: open for as long as `Visit.admitted` is.
        caller: who has signed in.
        project: the caller's.
        visit: the request.
    """

    connection: Connection
    caller: Caller
    project: Project
    visit: "Visit"

    def may(self, scope: str) -> bool:
        """Does the caller's scope cover this?"""
        return Scope(scope) in INCLUDED[self.caller.scope]

    def page(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
        """A page for whoever asks."""
        return self.visit.page(template, status, desk=self, **values)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who has signed in.

    Attributes:
        form: what was sent with it, by name; empty where it was no form.
    """

    request: Request
    resources: Resources
    sessions: Sessions
    session: Session
    form: Form

    @contextmanager
    def admitted(self, scope: Scope = Scope.READ) -> Iterator[Desk]:
        """A transaction for a caller of this scope, committed at the end.

        Raises:
            KeyInvalidError: the key has ended since the sign-in.
            TokenProjectUnknownError: the project has.
            RateLimitError: the project has had its requests of this minute.
            ScopeError: the key may not do this.
        """
        self.resources.breaker.check()
        with self.resources.engine.begin() as connection:
            caller = projects.resume(connection, self.session.holder)
            Needs(scope).checked(counted(self.request, self.resources, caller))
            yield Desk(connection, caller, projects.get(connection, caller), self)

    def prove(self, token: str) -> None:
        """Let only forms of this session's pages through.

        Raises:
            ForgedRequestError: the token is not the session's.
        """
        if not self.sessions.is_csrf_token(self.session, token):
            raise ForgedRequestError(
                "the form was not sent from a page of this session; load the page again"
            )

    def page(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
        """A page with what every page of a session has."""
        token = self.sessions.csrf_token(self.session)
        return page(template, status, csrf_token=token, path=self.request.url.path, **values)

    def field(self, name: str, default: str = "") -> str:
        """The first value of a field of the form, without blanks around it."""
        return self.form.get(name, [default])[0].strip()


async def _arrive(request: Request, resources: WithResources) -> Visit:
    sessions: Sessions = request.state.sessions
    session = sessions.read(request.cookies.get(COOKIE, ""))
    granted = session is not None and isinstance(session.holder, Grant)
    if session is None or (granted and request.state.sign_in is None):
        raise SessionMissingError("sign in first, or again: there is no session, or it has ended")
    if request.method == "POST":
        refuse_other_sites(request)
    return Visit(request, resources, sessions, session, {})


# Somebody whose form is not read yet, and who has to `prove` that it is of a page of ours.
Arriving = Annotated[Visit, Depends(_arrive)]


async def _visit(visit: Arriving) -> Visit:
    if visit.request.method != "POST":
        return visit
    form = await read_form(visit.request)
    visit.prove(visit.request.headers.get(_CSRF_HEADER) or form.get(CSRF, [""])[0])
    return replace(visit, form=form)


SignedIn = Annotated[Visit, Depends(_visit)]


async def read_form(request: Request) -> Form:
    """The fields of a form; what is no form has none."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise ForgedRequestError("the form has more fields than any of the console's") from None


def refuse_other_sites(request: Request) -> None:
    """Let only our own pages send forms.

    Raises:
        ForgedRequestError: the browser says that another site's page did.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = site in {"same-origin", "none"}
    if site is None:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise ForgedRequestError("the form was sent from another site")


def is_secure(request: Request) -> bool:
    """Did the browser come by TLS, as far as a proxy tells?"""
    told = request.headers.get("x-forwarded-proto", request.url.scheme)
    return told.partition(",")[0].strip() == "https"


def address_of(request: Request) -> str:
    """Where the browser reaches this service."""
    return f"{'https' if is_secure(request) else 'http'}://{request.url.netloc}"


class PageRoute(APIRoute):
    """A route whose answers, errors among them, are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                answer = await handle(request)
            except (SessionMissingError, KeyInvalidError, TokenProjectUnknownError):
                answer = _ask_to_sign_in(request)
            except Exception as error:  # noqa: BLE001  answered and logged as the API does
                answer = _explain(request, error)
            return protect(answer)

        return shown


def _ask_to_sign_in(request: Request) -> Response:
    """On to the sign-in, and from there back to where somebody wanted to go."""
    address = f"{SIGN_IN}?{urlencode({'next': _wanted(request)})}"
    if "hx-request" in request.headers:  # a part of a page: the whole page has to go there
        answer = Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": address})
    else:
        answer = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE, path=ROOT)
    return answer


def _wanted(request: Request) -> str:
    """The page that was asked for, or that the form is on."""
    told = str(request.url)
    if request.method == "POST":
        told = request.headers.get("hx-current-url") or request.headers.get("referer", "")
    try:
        parts = urlsplit(told)
    except ValueError:
        return HOME
    page = parts.path + (f"?{parts.query}" if parts.query else "")
    return page if page.startswith(f"{ROOT}/") else HOME


def _explain(request: Request, error: Exception) -> Response:
    """The API's problem as a page."""
    answer = problems.answer(request, error)
    if not answer.body:
        return answer
    told = json.loads(bytes(answer.body))
    shown = page("error.html", answer.status_code, problem=told)
    if "retry-after" in answer.headers:
        shown.headers["Retry-After"] = answer.headers["retry-after"]
    return shown
