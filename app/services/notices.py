"""Messages to the webhooks that want them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from app.db import deliveries, webhooks
from app.domain.webhooks import WebhookEvent


def tell(
    connection: Connection, project_id: str, event: WebhookEvent, about: dict[str, Any]
) -> None:
    """Thin on purpose: a receiver that may know more asks for it with its own key."""
    endpoint_ids = webhooks.interested(connection, project_id, event)
    if endpoint_ids:
        payload = {"type": event, "timestamp": datetime.now(UTC).isoformat(), "data": about}
        deliveries.add(connection, endpoint_ids, event, payload)
