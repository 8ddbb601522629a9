"""Rows of webhook deliveries: the queue and the log in one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    case,
    delete,
    func,
    insert,
    null,
    select,
    true,
    update,
)

from app.db import quarantine
from app.db.tables import deliveries, webhooks
from app.domain.ids import id_at, new_id
from app.domain.quarantine import Loop
from app.domain.shares import Candidate, Shares
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


def all_due(connection: Connection, shares: Shares) -> list[Candidate]:
    """Deliveries that could be made now, the longest due first.

    Of a project no more than its share, and to an endpoint no more than its own: nobody's backlog
    hides what is due for others.
    """
    first = (
        select(_table.id, _table.next_at)
        .where(_table.endpoint_id == webhooks.c.id, _table.next_at <= func.now())
        .where(~quarantine.waits(Loop.DELIVER, _table.id))
        .order_by(_table.next_at)
        .limit(shares.endpoint)
        .lateral("first")
    )
    place = func.row_number().over(
        partition_by=webhooks.c.project_id, order_by=(first.c.next_at, first.c.id)
    )
    ranked = (
        select(first.c.id, first.c.next_at, place.label("place"))
        .add_columns(webhooks.c.id.label("endpoint_id"), webhooks.c.project_id)
        .join_from(webhooks, first, true())
        .where(webhooks.c.enabled)
        .subquery()
    )
    columns = (ranked.c.id, ranked.c.endpoint_id, ranked.c.project_id)
    query = select(*columns).where(ranked.c.place <= shares.project).order_by(ranked.c.next_at)
    return [Candidate(*row) for row in connection.execute(query)]


def take(connection: Connection, delivery_id: str) -> Dispatch | None:
    """The delivery, counted as attempted; None where it is not due or another process has it."""
    due = (
        select(_table.id)
        .where(_table.id == delivery_id, _table.next_at <= func.now())
        .with_for_update(skip_locked=True)
    )
    query = (
        update(deliveries)
        .where(_table.id == due.scalar_subquery(), webhooks.c.id == _table.endpoint_id)
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
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Dispatch(
        id=row.id,
        endpoint_id=row.endpoint_id,
        attempts=row.attempts,
        url=row.url,
        payload=row.payload,
        secrets=(row.secret, row.old) if row.old else (row.secret,),
    )


def _attempt(dispatch: Dispatch) -> ColumnElement[bool]:
    """Is that attempt still the last one?"""
    pending = _table.state == DeliveryState.PENDING
    return (_table.id == dispatch.id) & (_table.attempts == dispatch.attempts) & pending


def give_back(connection: Connection, left: Sequence[Dispatch]) -> None:
    """Have attempts that were broken off made again at once, as if they had not been begun.

    A delivery whose row another transaction holds is being removed with its endpoint.
    """
    again = {"attempts": _table.attempts - 1, "next_at": func.now()}
    for dispatch in left:
        free = select(_table.id).where(_attempt(dispatch)).with_for_update(skip_locked=True)
        query = update(deliveries).where(_table.id == free.scalar_subquery())
        connection.execute(query.values(again))


def settle(
    connection: Connection,
    dispatch: Dispatch,
    receipt: Receipt,
    state: DeliveryState,
    pause: timedelta | None,
) -> bool:
    """Note what came of an attempt, and when the next one is; False where another has begun."""
    values = {"state": state, "last_status": receipt.status, "last_error": receipt.error}
    next_at = null() if pause is None else func.now() + pause
    query = update(deliveries).where(_attempt(dispatch)).values(**values, next_at=next_at)
    return connection.execute(query).rowcount > 0


def page(
    connection: Connection, endpoint_id: str, *, limit: int, before: str | None
) -> list[Delivery]:
    """Up to `limit` deliveries to the endpoint, newest first, older than the id `before`."""
    query = select(deliveries).where(_table.endpoint_id == endpoint_id)
    query = query.order_by(_table.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_table.id < before)
    return [_delivery(row) for row in connection.execute(query).mappings()]


def forget_old(connection: Connection, age: timedelta, *, limit: int) -> int:
    """Remove up to `limit` deliveries made longer ago, delivered or not; returns how many."""
    oldest = id_at("msg", datetime.now(UTC), -age)  # ids are in the order of the primary key
    old = select(_table.id).where(_table.id < oldest).order_by(_table.id).limit(limit)
    old = old.with_for_update(skip_locked=True)  # what is held is removed with its endpoint
    query = delete(deliveries).where(_table.id.in_(old.scalar_subquery()))
    return connection.execute(query).rowcount


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
