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

from app.api.document.examples import BODIES, EXAMPLES, STREAM
from app.api.http.documented import (
    CHALLENGE,
    CODES,
    ETAG,
    HEADERS,
    LOCATION,
    PARAMETERS,
    REPLAYED,
    RETRY_AFTER,
)
from app.api.http.problems import MEDIA_TYPE, problem
from app.domain.projects import PageError
from app.errors import SecateurError

Json = dict[str, Any]

# Beside keys; how services accept tokens is their operators' choice.
TOKEN = "OpenIdConnectToken"  # noqa: S105  a name
TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "an access token of the OpenID Connect issuer that the service is set up with",
}
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
    """Add problems, headers and tokens to every operation that needs a key."""
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"][TOKEN] = TOKEN_SCHEME
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
    for path, method, operation in _operations(document):
        _describe(operation, schemas)
        if operation.get("security"):
            operation["security"] = [*operation["security"], {TOKEN: []}]
            _add_headers(operation)
            for status in _refusals(path, method, operation):
                refused[status.name] = _problem(status)
                reference = {"$ref": f"#/components/responses/{status.name}"}
                operation["responses"][str(status.value)] = reference
    document["components"]["responses"] = refused
    document["components"]["headers"] = HEADERS
    return document


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def _describe(operation: Json, schemas: Json) -> None:
    """Say what parameters and answers are, with an example of every body."""
    for parameter in operation.get("parameters", ()):
        if "description" not in parameter:
            parameter["description"] = PARAMETERS[parameter["name"]]
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        _exemplify(operation, media_type, body)
    for status, answer in operation["responses"].items():
        if status[0] == "4":
            continue
        for media_type, body in answer.get("content", {}).items():
            _exemplify(operation, media_type, body)
        if answer["description"] == "Successful Response":
            bodies = list(answer.get("content", {}).values())
            name = _schema(bodies[0]) if bodies else None
            told = schemas[name].get("description") if name else HTTPStatus(int(status)).phrase
            answer["description"] = told or HTTPStatus(int(status)).phrase


def _exemplify(operation: Json, media_type: str, body: Json) -> None:
    name = _schema(body)
    if name in EXAMPLES:
        body["example"] = EXAMPLES[name]
    elif media_type == "text/event-stream":
        body["example"] = STREAM
    elif media_type in {"application/json", "application/jsonl"}:
        body["example"] = BODIES[operation["operationId"]]


def _schema(body: Json) -> str | None:
    """The name of the schema of a body, if it has one."""
    schema = body.get("schema", {})
    references = [each["$ref"] for each in (schema, *schema.get("anyOf", ())) if "$ref" in each]
    return references[0].rpartition("/")[2] if references else None


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
        found |= {HTTPStatus.REQUEST_TIMEOUT}
    if "if-match" in parameters:
        found |= {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}
    if "idempotency-key" in parameters or method == "delete":
        found |= {HTTPStatus.CONFLICT}
    return found


_WAITING = {
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


def _problem(status: HTTPStatus) -> Json:
    examples = {
        code: {"value": _example(status, code, detail)}
        for code, detail in sorted(_codes().items())
        if detail[0] is status
    }
    listed = f" Codes: {', '.join(f'`{code}`' for code in examples)}." if examples else ""
    answer: Json = {
        "description": f"{status.phrase}.{listed}",
        "content": {
            MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
        },
        "headers": _common(),
    }
    if status in _WAITING:
        answer["headers"]["Retry-After"] = RETRY_AFTER
    if status is HTTPStatus.UNAUTHORIZED:
        answer["headers"] = {"X-Request-Id": _common()["X-Request-Id"]}
        answer["headers"]["WWW-Authenticate"] = CHALLENGE
    return answer


def _codes() -> dict[str, tuple[HTTPStatus, str]]:
    """Every code of the API with its status and what it means."""
    known = {
        kind.code: (kind.status, inspect.cleandoc(kind.__doc__ or ""))
        for kind in error_classes()
        if not issubclass(kind, PageError)
    }
    return known | CODES


def _example(status: HTTPStatus, code: str, told: tuple[HTTPStatus, str]) -> Json:
    body: Json = json.loads(bytes(problem(status, code, told[1].splitlines()[0]).body))
    return body


def error_classes(base: type[SecateurError] = SecateurError) -> Iterator[type[SecateurError]]:
    """Every class of errors that has a code of its own."""
    if "code" in vars(base):
        yield base
    for kind in base.__subclasses__():
        if kind.__module__.startswith("app."):
            yield from error_classes(kind)


def _common() -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


def _add_headers(operation: Json) -> None:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    for status, answer in operation["responses"].items():
        headers: Json = answer.setdefault("headers", {})
        headers.update(_common())
        if status == str(HTTPStatus.ACCEPTED.value) and "idempotency-key" in names:
            headers["Location"] = LOCATION
            headers["Idempotency-Replayed"] = REPLAYED
        if status == str(HTTPStatus.OK.value) and "if-match" in names:
            headers["ETag"] = ETAG


def text(app: FastAPI) -> str:
    """The document as it is committed."""
    return json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
