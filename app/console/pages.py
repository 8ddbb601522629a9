"""Templates, what they may call, and the headers that every page carries."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.console.figures import FILTERS
from app.console.static import address

# Scripts and styles are files of ours; a page holds none, whatever the names in it are.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Other sites learn nothing; our own forms still tell where they stand (`Origin`).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

_templates = Environment(
    loader=PackageLoader("app.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(FILTERS)
_templates.globals.update(static=address, now=lambda: datetime.now(UTC))


def page(template: str, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    known = {"desk": None, "path": "", "csrf_token": ""} | values
    return HTMLResponse(_templates.get_template(template).render(known), status)


def protect(answer: Response) -> Response:
    """The answer with the headers of a page, those that it has already kept."""
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
