"""Messages to the webhooks that want them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from app.db import webhooks
from app.domain.jobs import Job
from app.domain.webhooks import WebhookEvent


def tell(
    connection: Connection, project_id: str, event: WebhookEvent, about: dict[str, Any]
) -> None:
    """Queue a message to every endpoint of the project that wants to hear of the event."""
    send(connection, webhooks.interested(connection, project_id, event), event, about)


def about_job(job: Job) -> dict[str, Any]:
    """Thin on purpose: a receiver that may know more asks for it with its own key."""
    return {"job_id": job.id, "attempt": job.attempt, "labels": job.labels}


def send(
    connection: Connection, endpoint_ids: Sequence[str], event: WebhookEvent, about: dict[str, Any]
) -> None:
    """Queue a message to these endpoints."""
    if endpoint_ids:
        payload = {"type": event, "timestamp": datetime.now(UTC).isoformat(), "data": about}
        webhooks.queue_deliveries(connection, endpoint_ids, event, payload)
