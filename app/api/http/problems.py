"""Errors as RFC 9457 problems."""

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic_core.core_schema import ErrorType
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from structlog.contextvars import get_contextvars

from app import errors
from app.api.http.fields import advice
from app.errors import SecateurError
from app.ids import REQUEST_ID
from app.messages import in_words, place_of
from app.telemetry.redaction import scrub
from app.uploads.errors import DatasetRowError

logger = logging.getLogger("secateur.api")

MEDIA_TYPE = "application/problem+json"
# What a disk, a quota or a process without room says.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE}
# nginx's name and number for a client that is gone before it was answered.
CLIENT_CLOSED_REQUEST = 499
# Whatever is left of the request or in the buffers, nothing follows on this connection.
CLOSE = {"Connection": "close"}

# What pydantic and starlette call a thing, and what our clients are told. Pydantic's other types
# are one code, so that its next release does not change ours; types of our own pass through.
VALIDATION_CODES = dict.fromkeys(get_args(ErrorType), "field_invalid") | {
    "extra_forbidden": "unknown_field",
    "missing": "field_missing",
    "json_invalid": "json_invalid",
    "model_attributes_type": "body_not_an_object",
}
HTTP_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.BAD_REQUEST: "bad_request",
}


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    issues: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem document; `code` is stable, `detail` is for people."""
    body: dict[str, Any] = {
        "type": f"urn:secateur:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": scrub(detail),
    }
    if issues:
        body["errors"] = [{name: scrub(text) for name, text in each.items()} for each in issues]
    return JSONResponse(body, status.value, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def _secateur(_: Request, error: Exception) -> JSONResponse:
    known = cast("SecateurError", error)
    status = known.status
    headers = {} if known.challenge is None else {"WWW-Authenticate": known.challenge}
    if known.retry_after is not None:
        headers["Retry-After"] = str(known.retry_after)
    issues = []
    if isinstance(known, DatasetRowError):
        issues = [{"code": known.code, "detail": str(known), "row": str(known.row)}]
    return problem(status, known.code, str(known), issues=issues, headers=headers)


def _pointer(place: Sequence[str | int]) -> str:
    """JSON pointer to a place of the body."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def _issue(issue: dict[str, Any], body: Any, model: Any) -> dict[str, str]:
    where, *rest = issue["loc"]
    code = VALIDATION_CODES.get(issue["type"], issue["type"])
    if where == "body":
        told = in_words(issue) + advice(model, rest, issue["type"])
        place = place_of({**issue, "loc": rest}, body)
        return {"code": code, "detail": told, "pointer": _pointer(place)}
    return {"code": code, "detail": in_words(issue), "parameter": str(rest[0] if rest else where)}


def _validation(request: Request, error: Exception) -> JSONResponse:
    invalid = cast("RequestValidationError", error)
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field and field.field_info.annotation
    issues = [_issue(issue, invalid.body, model) for issue in invalid.errors()]
    codes = {issue["code"] for issue in issues}
    code = codes.pop() if len(codes) == 1 else "request_invalid"
    status = HTTPStatus.BAD_REQUEST if code == "json_invalid" else HTTPStatus.UNPROCESSABLE_ENTITY
    named = ((i.get("pointer") or i.get("parameter") or "the request", i["detail"]) for i in issues)
    detail = "; ".join(f"{name}: {text}" for name, text in named)
    return problem(status, code, detail, issues=issues)


def _http(_: Request, error: Exception) -> JSONResponse:
    raised = cast("HTTPException", error)
    status = HTTPStatus(raised.status_code)
    code = HTTP_CODES.get(status, status.phrase.lower().replace(" ", "_"))
    return problem(status, code, str(raised.detail), headers=raised.headers)


def _database(request: Request, error: Exception) -> JSONResponse:
    logger.error("the database is not reachable: %s", error)
    if isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) is None:
        request.state.resources.breaker.trip()
    detail = "the database is not reachable right now; nothing was changed, try again"
    return _secateur(request, errors.DatabaseUnavailableError(detail))


def _system(request: Request, error: Exception) -> JSONResponse:
    number = cast("OSError", error).errno
    if number not in FULL:
        return _unexpected(request, error)
    logger.error("a disk does not take what is written: %s", error)
    text = "the service has no room for this right now; nothing was stored, try again later"
    return _secateur(request, errors.StorageUnavailableError(text))


def _unstorable(request: Request, error: Exception) -> JSONResponse:
    logger.warning("a value cannot be stored: %s", error)
    text = (
        "a text holds a NUL character or half of a surrogate pair, or a number is NaN or infinite; "
        "these cannot be stored"
    )
    return _secateur(request, errors.StorableTextError(text))


def _disconnected(_: Request, __: Exception) -> Response:
    """For the log and the metrics: nobody is there to read it."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    logger.error("unexpected error", exc_info=error)
    detail = "the service met an unexpected error; its log has the details"
    # This answer is made outside of every middleware.
    headers = CLOSE | {"X-Request-Id": str(get_contextvars().get(REQUEST_ID, ""))}
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail, headers=headers)


# By class; a subclass without an entry is answered as its nearest base.
HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    SecateurError: _secateur,
    RequestValidationError: _validation,
    HTTPException: _http,
    OperationalError: _database,
    DataError: _unstorable,
    PoolTimeoutError: _database,
    OSError: _system,
    ClientDisconnect: _disconnected,
    Exception: _unexpected,
}


def answer(request: Request, error: Exception) -> Response:
    """What is answered where an endpoint raised the error."""
    return next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)(request, error)


def install(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
