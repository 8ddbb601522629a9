"""Identifiers: a prefix that tells the kind, and a UUIDv7 so that ids sort by creation time.

The id of the request at hand goes, with its trace context, along with what the request makes.
"""

from datetime import datetime, timedelta

from opentelemetry import propagate
from structlog.contextvars import get_contextvars
from uuid_utils import uuid7

REQUEST_ID = "request_id"


def new_id(prefix: str) -> str:
    """A fresh id such as `job_0199f0c4e5b37d1c8a...`."""
    return f"{prefix}_{uuid7().hex}"


def id_at(prefix: str, moment: datetime, shift: timedelta = timedelta(0)) -> str:
    """What sorts before every id made from that moment on, and after all earlier ones.

    Args:
        prefix: of the ids.
        moment: any that a datetime can hold.
        shift: added to it; the sum may lie outside of what a datetime can hold.
    """
    seconds = moment.timestamp() + shift.total_seconds()
    milliseconds = max(0, min(int(seconds * 1000), _LAST))
    return f"{prefix}_{milliseconds:012x}"


_LAST = (1 << 48) - 1


def trace_context() -> dict[str, str]:
    """The current W3C trace context, as headers."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def origin() -> dict[str, str]:
    """Request id and trace context of the request at hand, to be stored with what it makes."""
    request_id = get_contextvars().get(REQUEST_ID)
    return trace_context() | ({REQUEST_ID: request_id} if request_id else {})
