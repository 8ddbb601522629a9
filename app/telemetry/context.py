"""What the work at hand is known by: ids in every log line, and the W3C trace context."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars, get_contextvars

from app.telemetry.traces import carrier_of

REQUEST_ID = "request_id"


def origin() -> dict[str, str]:
    """Request id and trace context of the request at hand, to be stored with what it makes."""
    request_id = get_contextvars().get(REQUEST_ID)
    return carrier_of() | ({REQUEST_ID: request_id} if request_id else {})


@contextmanager
def working_on(job_id: str, attempt: int, origin: Mapping[str, str]) -> Iterator[None]:
    """Name the job, the attempt and the request behind them in every log line."""
    known = {REQUEST_ID: origin[REQUEST_ID]} if REQUEST_ID in origin else {}
    with bound_contextvars(job_id=job_id, attempt=attempt, **known):
        yield
