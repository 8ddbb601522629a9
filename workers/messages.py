"""What reaches Celery from the broker: messages as this service sends them, and nothing else.

A message that Celery cannot read ends the whole worker. It is not acknowledged then, so the broker
hands it to the next worker, and one bad message keeps all of them from working. A message is only a
hint that a job waits, so what is not exactly as we send it is dropped before Celery sees it.
"""

import base64
import json
import logging
import re
from collections.abc import Iterator
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from app.queue import HELP, TASK

logger = logging.getLogger("secateur.worker")

LONGEST = 1 << 16  # characters of a body; ours have about two hundred
_JOB = re.compile(r"job_[0-9a-f]{32}")


class Channel(kombu_redis.Channel):
    """Drops what is no JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            _drop(type(error).__name__)
            raise Empty from error


class Transport(kombu_redis.Transport):
    """Drops what is not as we send it."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if fault := fault_of(message):
            _drop(fault)
        else:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def install() -> None:
    """Have workers of this process read Redis through these classes."""
    here = f"{__name__}:Transport"
    TRANSPORT_ALIASES.update({"redis": here, "rediss": here})


def fault_of(message: Any) -> str:
    """Why a message is not one of ours; empty where it is."""
    try:
        return next((fault for fault, right in _checks(message) if not right), "")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        return type(error).__name__


def _checks(message: Any) -> Iterator[tuple[str, bool]]:
    headers, properties, body = (message[part] for part in ("headers", "properties", "body"))
    yield "content type", message["content-type"] == "application/json"
    yield "compression", not headers.get("compression")
    yield "task", headers["task"] in {TASK, HELP} and isinstance(headers["id"], str)
    yield "time", not headers.get("eta") and not headers.get("expires")
    yield "properties", isinstance(properties["delivery_tag"], str)
    yield "properties", isinstance(properties["delivery_info"], dict)
    yield "size or encoding", properties["body_encoding"] == "base64" and len(body) <= LONGEST
    (job_id,), named, embedded = json.loads(base64.b64decode(body))
    yield "arguments", isinstance(job_id, str) and _JOB.fullmatch(job_id) is not None
    yield "arguments", named == {} and isinstance(embedded, dict)


def _drop(fault: str) -> None:
    # Without its content, which may be anything.
    logger.warning("dropped a message on the broker that is not of this service: %s", fault)
