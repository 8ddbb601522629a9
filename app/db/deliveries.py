"""Rows of webhook deliveries: the queue and the log in one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, case, func, insert, null, select, update

from app.db.tables import deliveries, webhooks
from app.domain.ids import new_id
from app.domain.webhooks import Delivery, DeliveryState, Dispatch, Receipt, WebhookEvent

_table = deliveries.c
# While an attempt is under way nobody else takes the delivery; a crash gives it back after this.
LEASE = timedelta(seconds=60)


def _delivery(row: RowMapping) -> Delivery:
    values: dict[str, Any] = dict(row)
    values["event"] = WebhookEvent(row["event"])
    values["state"] = DeliveryState(row["state"])
    return Delivery(**values)


def add(
    connection: Connection,
    endpoint_ids: Sequence[str],
    event: WebhookEvent,
    payload: dict[str, Any],
) -> None:
    """Queue a message to each endpoint."""
    rows = [
        {"id": new_id("msg"), "endpoint_id": endpoint_id, "event": event, "payload": payload}
        for endpoint_id in endpoint_ids
    ]
    connection.execute(insert(deliveries), rows)


def take_due(connection: Connection, *, limit: int) -> list[Dispatch]:
    """Deliveries to send now, counted as attempted; rows another process holds are passed over."""
    due = (
        select(_table.id)
        .join(webhooks, webhooks.c.id == _table.endpoint_id)
        .where(_table.next_at <= func.now(), webhooks.c.enabled)
        .order_by(_table.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=deliveries)
    )
    query = (
        update(deliveries)
        .where(_table.id.in_(due.scalar_subquery()), webhooks.c.id == _table.endpoint_id)
        .values(attempts=_table.attempts + 1, next_at=func.now() + LEASE)
        .returning(
            _table.id,
            _table.endpoint_id,
            _table.attempts,
            _table.payload,
            webhooks.c.url,
            webhooks.c.secret,
            case((webhooks.c.old_secret_until > func.now(), webhooks.c.old_secret)).label("old"),
        )
    )
    return [
        Dispatch(
            id=row.id,
            endpoint_id=row.endpoint_id,
            attempts=row.attempts,
            url=row.url,
            payload=row.payload,
            secrets=(row.secret, row.old) if row.old else (row.secret,),
        )
        for row in connection.execute(query)
    ]


def settle(
    connection: Connection,
    delivery_id: str,
    receipt: Receipt,
    state: DeliveryState,
    pause: timedelta | None,
) -> None:
    """Note what came of an attempt, and when the next one is."""
    values = {"state": state, "last_status": receipt.status, "last_error": receipt.error}
    next_at = null() if pause is None else func.now() + pause
    query = update(deliveries).where(_table.id == delivery_id)
    connection.execute(query.values(**values, next_at=next_at))


def page(
    connection: Connection, endpoint_id: str, *, limit: int, before: str | None
) -> list[Delivery]:
    """Up to `limit` deliveries to the endpoint, newest first, older than the id `before`."""
    query = select(deliveries).where(_table.endpoint_id == endpoint_id)
    query = query.order_by(_table.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_table.id < before)
    return [_delivery(row) for row in connection.execute(query).mappings()]


def replay(connection: Connection, endpoint_id: str, delivery_id: str) -> Delivery | None:
    """Start a delivery over, at once; None where the endpoint has none of that id."""
    query = (
        update(deliveries)
        .where(_table.endpoint_id == endpoint_id, _table.id == delivery_id)
        .values(state=DeliveryState.PENDING, attempts=0, next_at=func.now())
        .returning(deliveries)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _delivery(row) if row else None
