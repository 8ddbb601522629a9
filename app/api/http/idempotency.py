"""Idempotency-Key on endpoints that make something."""

from collections.abc import Callable

from fastapi import Response
from sqlalchemy import Connection

from app.domain.projects import Caller
from app.services.projects import idempotency
from app.services.projects.idempotency import Made


def once(
    response: Response,
    connection: Connection,
    caller: Caller,
    *,
    key: str | None,
    payload: object,
    make: Callable[[], Made],
    again: Callable[[str], Made],
) -> Made:
    """`make()`, or what came of it when the same request came first; marks a replay as one."""
    made, replayed = idempotency.once(connection, caller, key, payload, make=make, again=again)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return made
