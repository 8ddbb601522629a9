"""The relay: carries outbox messages to the broker, and again when the broker has lost them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from opentelemetry.trace import SpanKind
from sqlalchemy import Connection

from app.db import outbox, projects
from app.telemetry.traces import carrier_of, context_of, tracer

BATCH = 200
# A message that was sent, is not claimed and is not in the broker has been lost with a worker or
# with the broker's memory. The grace covers the way from the broker to the claim.
GRACE = timedelta(seconds=5)


class MessageQueue(Protocol):
    """The broker as the relay sees it."""

    def send(self, job_id: str, worker_class: str, headers: Mapping[str, str]) -> None:
        """Hand over one message or raise."""

    def depth(self, worker_class: str) -> int:
        """How many messages wait for a worker of the class."""


def relay(connection: Connection, queue: MessageQueue) -> int:
    """Send what is due, in one transaction that holds the rows. Returns how many were sent.

    A crash after the broker took a message and before the commit sends it twice; the second claim
    finds nothing.
    """
    due = outbox.due(connection, limit=BATCH)
    for job_id, worker_class, origin in due:
        with tracer.start_as_current_span(
            "send message",
            context=context_of(origin),
            kind=SpanKind.PRODUCER,
            attributes={"secateur.job_id": job_id},
        ):
            queue.send(job_id, worker_class, carrier_of())
    if due:
        outbox.mark_sent(connection, [message.job_id for message in due])
    return len(due)


def recover_lost(connection: Connection, queue: MessageQueue) -> int:
    """Mark messages as unsent when their queue is empty although jobs are unclaimed.

    The depth is asked only when some message is overdue, so an idle system costs one query.
    """
    full = projects.full(connection)
    overdue = outbox.unclaimed_since(connection, GRACE, full)
    lost = [worker_class for worker_class in overdue if queue.depth(worker_class) == 0]
    return outbox.forget_sent(connection, GRACE, full, lost) if lost else 0
