"""Idempotency-Key on endpoints that make something."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Response
from pydantic import BaseModel
from sqlalchemy import Connection

from app.domain.access import Caller
from app.services import idempotency

Out = TypeVar("Out", bound=BaseModel)


def once(
    response: Response,
    connection: Connection,
    caller: Caller,
    *,
    key: str | None,
    payload: object,
    make: Callable[[], Out],
    load: type[Out],
) -> Out:
    """`make()`, or what it answered when the same request came first; marks a replay as one."""
    if key is None:
        return make()
    answer = idempotency.once(
        connection, caller, key, payload, lambda: make().model_dump(mode="json")
    )
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return load.model_validate(answer.body)
