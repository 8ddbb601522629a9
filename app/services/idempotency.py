"""Requests that may be sent twice and take effect once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from app.db import idempotency
from app.domain.access import Caller
from app.domain.errors import IdempotencyInFlightError, IdempotencyMismatchError


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered, and whether an earlier request did the work."""

    body: dict[str, Any]
    replayed: bool = False


def once(
    connection: Connection,
    caller: Caller,
    key: str | None,
    payload: object,
    make: Callable[[], dict[str, Any]],
) -> Answer:
    """Make the answer, or replay the one the same request got before.

    Only answers that were committed are kept: after an error the request may be sent again.

    Args:
        connection: the transaction that `make` works in.
        caller: keys of different projects do not meet.
        key: the Idempotency-Key; None just makes the answer.
        payload: what must be the same for a replay; models, and anything JSON can hold.
        make: does the work and returns the answer, as JSON can hold it.

    Raises:
        IdempotencyInFlightError: the first request is still at work.
        IdempotencyMismatchError: the key was used with another payload.
    """
    if key is None:
        return Answer(make())
    if not idempotency.try_lock(connection, caller.project_id, key):
        raise IdempotencyInFlightError("the first request with this Idempotency-Key is at work")
    text = json.dumps(payload, sort_keys=True, default=_plain)
    fingerprint = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    found = idempotency.find(connection, caller.project_id, key)
    if found is None:
        answer = make()
        idempotency.store(
            connection, caller.project_id, key, fingerprint=fingerprint, answer=answer
        )
        return Answer(answer)
    if found[0] != fingerprint:
        raise IdempotencyMismatchError("this Idempotency-Key was used with another payload")
    return Answer(found[1], replayed=True)


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json")
