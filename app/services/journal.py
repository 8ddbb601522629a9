"""Writes a job's events: to its log, and as messages to the webhooks that want them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection

from app.db import deliveries, events, webhooks
from app.domain.jobs import EventType, Job, JobStatus, NewEvent
from app.domain.webhooks import WebhookEvent


def write(connection: Connection, job: Job, log: Sequence[NewEvent]) -> None:
    """Append to the log of a job whose row this transaction holds."""
    events.append(connection, job.id, job.attempt, log)
    for event in log:
        if event.type is EventType.STATUS:
            _tell(connection, job, WebhookEvent.of(JobStatus(event.data["status"])))


def _tell(connection: Connection, job: Job, event: WebhookEvent) -> None:
    """Thin on purpose: a receiver that may know more asks for it with its own key."""
    endpoint_ids = webhooks.interested(connection, job.project_id, event)
    if endpoint_ids:
        payload = {
            "type": event,
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"job_id": job.id, "attempt": job.attempt, "labels": job.labels},
        }
        deliveries.add(connection, endpoint_ids, event, payload)
