"""The OpenAPI document: what FastAPI derives, and the problems that every operation may answer.

`make openapi` writes the committed copy.
"""

import inspect
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from app.api.problems import MEDIA_TYPE, status_of
from app.domain import dataset_errors, errors
from app.domain.errors import SecateurError

Json = dict[str, Any]

METHODS = {"get", "head", "post", "put", "patch", "delete"}


class Issue(BaseModel):
    """One thing that is wrong with a request."""

    code: str
    detail: str
    pointer: str | None = Field(default=None, description="JSON pointer into the body")
    parameter: str | None = Field(default=None, description="name of a parameter or header")
    row: str | None = Field(default=None, description="row of an uploaded data set")


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(examples=["urn:secateur:problem:job_not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(description="stable; made for programs", examples=["job_not_found"])
    detail: str = Field(description="made for people", examples=["there is no job 'job_1'"])
    errors: list[Issue] | None = None


def install(app: FastAPI) -> None:
    """Have the app serve the completed document."""
    derive = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = complete(derive())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def complete(document: Json) -> Json:
    """Add problems and headers to every operation that needs a key."""
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in (Problem, Issue):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    for schema in schemas.values():
        for property_ in schema.get("properties", {}).values():
            # Generators of clients drop a schema with an object as the default of a union.
            if "discriminator" in property_ and isinstance(property_.get("default"), dict):
                del property_["default"]
    refused: Json = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS and operation.get("security"):
                _add_headers(operation)
                for status in _refusals(path, method, operation):
                    refused[status.name] = _problem(status)
                    reference = {"$ref": f"#/components/responses/{status.name}"}
                    operation["responses"][str(status.value)] = reference
    document["components"]["responses"] = refused
    document["components"]["headers"] = RATE_FIELDS
    return document


# Where files are asked for that may have expired.
_OF_FILES = tuple(
    f"/v1/jobs/{{job_id}}/{kind}" for kind in ("artifacts/", "archive", "packed/", "report")
)


def _refusals(path: str, method: str, operation: Json) -> set[HTTPStatus]:
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    found = {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
    found |= {HTTPStatus(int(status)) for status in operation["responses"] if status[0] == "4"}
    if "{" in path:
        found |= {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}
    if path.startswith(_OF_FILES):
        found |= {HTTPStatus.GONE}
    if "requestBody" in operation:
        found |= {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
    if "if-match" in parameters:
        found |= {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}
    if "idempotency-key" in parameters or method == "delete":
        found |= {HTTPStatus.CONFLICT}
    return found


def _problem(status: HTTPStatus) -> Json:
    codes = sorted(error.code for error in _errors() if status_of(error) is status)
    listed = f" Codes: {', '.join(f'`{code}`' for code in codes)}." if codes else ""
    reference = {"$ref": "#/components/schemas/Problem"}
    answer: Json = {
        "description": f"{status.phrase}.{listed}",
        "content": {MEDIA_TYPE: {"schema": reference}},
        "headers": _rate_fields() if status is not HTTPStatus.UNAUTHORIZED else {},
    }
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        answer["headers"]["Retry-After"] = _header("seconds to wait", "integer")
    if status is HTTPStatus.UNAUTHORIZED:
        answer["headers"]["WWW-Authenticate"] = _header("Bearer")
    return answer


def _errors() -> Iterator[type[SecateurError]]:
    for module in (errors, dataset_errors):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, SecateurError) and "code" in vars(kind):
                yield kind


def _header(description: str, kind: str = "string") -> Json:
    return {"description": description, "schema": {"type": kind}}


RATE_FIELDS = {
    "RateLimit": _header('what is left: "project";r=requests;t=seconds'),
    "RateLimit-Policy": _header('the limit: "project";q=requests;w=seconds'),
}


def _rate_fields() -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in RATE_FIELDS}


def _add_headers(operation: Json) -> None:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    for status, answer in operation["responses"].items():
        headers: Json = answer.setdefault("headers", {})
        headers.update(_rate_fields())
        if status == str(HTTPStatus.ACCEPTED.value) and "idempotency-key" in names:
            headers["Location"] = _header("where the new job is")
            headers["Idempotency-Replayed"] = _header("true where an earlier answer is repeated")
        if status == str(HTTPStatus.OK.value) and "if-match" in names:
            headers["ETag"] = _header("the job's state, for If-Match")


def text(app: FastAPI) -> str:
    """The document as it is committed."""
    return json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
