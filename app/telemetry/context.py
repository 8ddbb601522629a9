"""What the work at hand is known by: ids in every log line, and the W3C trace context."""

from opentelemetry import propagate
from structlog.contextvars import get_contextvars

REQUEST_ID = "request_id"


def origin() -> dict[str, str]:
    """Request id and trace context of the request at hand, to be stored with what it makes."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if request_id := get_contextvars().get(REQUEST_ID):
        carrier[REQUEST_ID] = request_id
    return carrier
