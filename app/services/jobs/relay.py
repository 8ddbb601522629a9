"""The relay: carries outbox messages to the broker, and again when the broker has lost them."""

from datetime import timedelta
from functools import partial

from opentelemetry.trace import SpanKind

from app.db import outbox, projects
from app.domain.quarantine import Loop
from app.ids import trace_context
from app.queue import CeleryQueue
from app.services.quarantine import Guard
from app.telemetry.traces import context_of, tracer

BATCH = 200
# A message that was sent, is not claimed and is not in the broker has been lost with a worker or
# with the broker's memory. The grace covers the way from the broker to the claim.
GRACE = timedelta(seconds=5)


def relay(guard: Guard, queue: CeleryQueue) -> int:
    """Send what is due, in one transaction that holds the rows. Returns how many were sent.

    A crash after the broker took a message and before the commit sends it twice; the second claim
    finds nothing. A message that cannot be sent although the broker answers is set aside.
    """
    with guard.engine.begin() as connection:
        due = outbox.due(connection, limit=BATCH)
        send = partial(_send, queue)
        sent = guard.each(Loop.RELAY, due, send, name=_job_id, check=queue.ping)
        if sent:
            outbox.mark_sent(connection, sent)
    return len(sent)


def _job_id(message: outbox.Message) -> str:
    return message.job_id


def _send(queue: CeleryQueue, message: outbox.Message) -> str:
    with tracer.start_as_current_span(
        "send message",
        context=context_of(message.origin),
        kind=SpanKind.PRODUCER,
        attributes={"secateur.job_id": message.job_id},
    ):
        queue.send(message.job_id, message.worker_class, trace_context())
    return message.job_id


def recover_lost(guard: Guard, queue: CeleryQueue) -> int:
    """Mark messages as unsent when their queue is empty although jobs are unclaimed.

    The depth is asked only when some message is overdue, so an idle system costs one query.
    """
    with guard.engine.begin() as connection:
        full = projects.full(connection)
        overdue = outbox.unclaimed_since(connection, GRACE, full)
    depths = guard.each(
        Loop.RECOVER, overdue, lambda each: (each, queue.depth(each)), check=queue.ping
    )
    lost = [worker_class for worker_class, depth in depths if depth == 0]
    if not lost:
        return 0
    with guard.engine.begin() as connection:
        return outbox.forget_sent(connection, GRACE, full, lost)
