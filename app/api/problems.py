"""Errors as RFC 9457 problems. The one table from error to HTTP status is here."""

import errno
import logging
from collections.abc import Mapping, Sequence
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

from app.domain import dataset_errors, errors
from app.domain.errors import SecateurError
from app.domain.validation_words import in_words
from app.telemetry.context import REQUEST_ID
from app.telemetry.redaction import scrub

logger = logging.getLogger("secateur.api")

MEDIA_TYPE = "application/problem+json"
# What a disk, a quota or a process without room says.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE}
# nginx's name and number for a client that is gone before it was answered.
CLIENT_CLOSED_REQUEST = 499
# Whatever is left of the request or in the buffers, nothing follows on this connection.
CLOSE = {"Connection": "close"}

# Errors that are not listed are 422: the request was understood and cannot be carried out.
STATUS: dict[type[SecateurError], HTTPStatus] = {
    errors.KeyMissingError: HTTPStatus.UNAUTHORIZED,
    errors.KeyInvalidError: HTTPStatus.UNAUTHORIZED,
    errors.JobNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ArtifactNotFoundError: HTTPStatus.NOT_FOUND,
    errors.BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    errors.ArtifactPathError: HTTPStatus.BAD_REQUEST,
    errors.RepositoryNotFoundError: HTTPStatus.NOT_FOUND,
    errors.RevisionNotFoundError: HTTPStatus.NOT_FOUND,
    errors.JobFinishedError: HTTPStatus.CONFLICT,
    dataset_errors.DatasetNotFoundError: HTTPStatus.NOT_FOUND,
    dataset_errors.DatasetTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.ArtifactExpiredError: HTTPStatus.GONE,
    errors.JobInUseError: HTTPStatus.CONFLICT,
    errors.ModelVersionNotFoundError: HTTPStatus.NOT_FOUND,
    errors.PublicationNotFoundError: HTTPStatus.NOT_FOUND,
    errors.JobNotFinishedError: HTTPStatus.CONFLICT,
    errors.JobNotRetryableError: HTTPStatus.CONFLICT,
    errors.IdempotencyInFlightError: HTTPStatus.CONFLICT,
    errors.ResultNotReadyError: HTTPStatus.NOT_FOUND,
    errors.SweepNotFoundError: HTTPStatus.NOT_FOUND,
    errors.SweepFinishedError: HTTPStatus.CONFLICT,
    errors.SweepNotFinishedError: HTTPStatus.CONFLICT,
    errors.WorkerClassNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ApiKeyNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ProjectExistsError: HTTPStatus.CONFLICT,
    errors.ProjectNotFoundError: HTTPStatus.NOT_FOUND,
    errors.WebhookNotFoundError: HTTPStatus.NOT_FOUND,
    errors.DeliveryNotFoundError: HTTPStatus.NOT_FOUND,
    errors.PreconditionError: HTTPStatus.PRECONDITION_FAILED,
    errors.ScopeError: HTTPStatus.FORBIDDEN,
    errors.QueueQuotaError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ArtifactQuotaError: HTTPStatus.FORBIDDEN,
    errors.WebhookQuotaError: HTTPStatus.FORBIDDEN,
    errors.RateLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.SystemFaultError: HTTPStatus.SERVICE_UNAVAILABLE,
}
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


def status_of(error: type[SecateurError]) -> HTTPStatus:
    """The status of an error: its own row of the table, or that of its nearest base class."""
    listed = [STATUS[base] for base in error.__mro__ if base in STATUS]
    return listed[0] if listed else HTTPStatus.UNPROCESSABLE_ENTITY


def _secateur(_: Request, error: Exception) -> JSONResponse:
    known = cast("SecateurError", error)
    status = status_of(type(known))
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if known.retry_after is not None:
        headers["Retry-After"] = str(known.retry_after)
    issues = []
    if isinstance(known, dataset_errors.DatasetRowError):
        issues = [{"code": known.code, "detail": str(known), "row": str(known.row)}]
    return problem(status, known.code, str(known), issues=issues, headers=headers)


def _pointer(location: Sequence[str | int], body: Any) -> str:
    """JSON pointer into the body; the names pydantic gives to union branches are left out."""
    parts: list[str | int] = []
    for part in location:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            if parts or not isinstance(body, dict):
                continue
        parts.append(part)
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _issue(issue: dict[str, Any], body: Any) -> dict[str, str]:
    where, *rest = issue["loc"]
    code = VALIDATION_CODES.get(issue["type"], issue["type"])
    if where == "body":
        return {"code": code, "detail": in_words(issue), "pointer": _pointer(rest, body)}
    return {"code": code, "detail": in_words(issue), "parameter": str(rest[0] if rest else where)}


def _validation(_: Request, error: Exception) -> JSONResponse:
    invalid = cast("RequestValidationError", error)
    issues = [_issue(issue, invalid.body) for issue in invalid.errors()]
    codes = {issue["code"] for issue in issues}
    code = codes.pop() if len(codes) == 1 else "request_invalid"
    status = HTTPStatus.BAD_REQUEST if code == "json_invalid" else HTTPStatus.UNPROCESSABLE_ENTITY
    named = ((i.get("pointer") or i.get("parameter") or "body", i["detail"]) for i in issues)
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


def install(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""
    app.add_exception_handler(SecateurError, _secateur)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)
