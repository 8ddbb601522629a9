"""Requests that may be sent twice and take effect once."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from app.db import projects
from app.domain.projects import Caller
from app.errors import IdempotencyInFlightError, IdempotencyMismatchError


class Identified(Protocol):
    """Something that was made, and can be found again by its id."""

    @property
    def id(self) -> str:
        """Its id."""


Made = TypeVar("Made", bound=Identified)


def once(
    connection: Connection,
    caller: Caller,
    key: str | None,
    payload: object,
    *,
    make: Callable[[], Made],
    again: Callable[[str], Made],
) -> tuple[Made, bool]:
    """Make something, or find what the same request made before, as it is now.

    Only what was committed is remembered: after an error the request may be sent again.

    Args:
        connection: the transaction that `make` works in.
        caller: keys of different projects do not meet.
        key: the Idempotency-Key; None just makes it.
        payload: what must be the same for a replay; models, and anything JSON can hold.
        make: does the work.
        again: finds by its id what was made.

    Returns:
        What was made, and whether an earlier request did it.

    Raises:
        IdempotencyInFlightError: the first request is still at work.
        IdempotencyMismatchError: the key was used with another payload.
    """
    if key is None:
        return make(), False
    if not projects.try_lock_request(connection, caller.project_id, key):
        raise IdempotencyInFlightError("the first request with this Idempotency-Key is at work")
    text = json.dumps(payload, sort_keys=True, default=_plain)
    fingerprint = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    found = projects.find_request(connection, caller.project_id, key)
    if found is None:
        made = make()
        answer = {"id": made.id}
        projects.store_request(
            connection, caller.project_id, key, fingerprint=fingerprint, answer=answer
        )
        return made, False
    if found[0] != fingerprint:
        raise IdempotencyMismatchError("this Idempotency-Key was used with another payload")
    return again(found[1]["id"]), True


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json")
