"""Rows of webhook endpoints, and of their deliveries: the queue and the log in one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql

from app.db import quarantine
from app.db.tables import deliveries, webhooks
from app.domain.quarantine import Loop
from app.domain.webhooks import (
    Candidate,
    Delivery,
    DeliveryState,
    Dispatch,
    Endpoint,
    Receipt,
    Shares,
    WebhookEvent,
)
from app.ids import id_at, new_id

_COLUMNS = (
    webhooks.c.id,
    webhooks.c.project_id,
    webhooks.c.url,
    webhooks.c.events,
    webhooks.c.enabled,
    webhooks.c.disabled_reason,
    webhooks.c.failing_since,
    webhooks.c.last_error,
    webhooks.c.created_at,
)

_WELL: dict[str, Any] = {"failing_since": null(), "failed_at": null(), "last_error": null()}


def _endpoint(row: RowMapping) -> Endpoint:
    values: dict[str, Any] = dict(row)
    values["events"] = frozenset(map(WebhookEvent, row["events"]))
    return Endpoint(**values)


def create(
    connection: Connection, project_id: str, *, url: str, events: Sequence[str], secret: str
) -> Endpoint:
    """Store an endpoint."""
    values = {"id": new_id("whk"), "project_id": project_id, "url": url, "secret": secret}
    query = insert(webhooks).values(**values, events=list(events)).returning(*_COLUMNS)
    return _endpoint(connection.execute(query).mappings().one())


def listing(connection: Connection, project_id: str) -> list[Endpoint]:
    """The project's endpoints, newest first."""
    query = (
        select(*_COLUMNS).where(webhooks.c.project_id == project_id).order_by(webhooks.c.id.desc())
    )
    return [_endpoint(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, project_id: str, endpoint_id: str) -> Endpoint | None:
    """One endpoint."""
    query = select(*_COLUMNS).where(
        webhooks.c.project_id == project_id, webhooks.c.id == endpoint_id
    )
    row = connection.execute(query).mappings().one_or_none()
    return _endpoint(row) if row else None


def lock(connection: Connection, endpoint_id: str) -> None:
    """Let nobody else change or remove the endpoint until this transaction ends.

    Whoever changes an endpoint and its deliveries locks the endpoint first, as its removal does:
    two transactions that begin at different ends would wait for each other.
    """
    query = select(webhooks.c.id).where(webhooks.c.id == endpoint_id)
    connection.execute(query.with_for_update(key_share=True))


_OWN = "whk_installation"


def set_own(connection: Connection, url: str, events: Sequence[str], secret: str) -> None:
    """Have the installation's own endpoint be told of the jobs of all projects; "": of none."""
    if not url:
        remove(connection, _OWN)
        return
    values = {"url": url, "events": list(events)}
    query = postgresql.insert(webhooks).values(id=_OWN, secret=secret, **values)
    changed = or_(webhooks.c.url != url, webhooks.c.events != list(events))
    connection.execute(
        query.on_conflict_do_update(index_elements=["id"], set_=values, where=changed)
    )


_INTERESTED = select(webhooks.c.id).where(
    (webhooks.c.project_id == bindparam("project_id")) | webhooks.c.project_id.is_(None),
    webhooks.c.enabled,
    webhooks.c.events.contains(bindparam("wanted", type_=webhooks.c.events.type)),
)


def interested(connection: Connection, project_id: str, event: WebhookEvent) -> Sequence[str]:
    """Ids of the endpoints that want to be told."""
    told = {"project_id": project_id, "wanted": [event]}
    return connection.execute(_INTERESTED, told).scalars().all()


def count(connection: Connection, project_id: str) -> int:
    """How many the project has."""
    query = select(func.count()).where(webhooks.c.project_id == project_id)
    return int(connection.execute(query).scalar_one())


def change(connection: Connection, endpoint_id: str, **values: Any) -> Endpoint:
    """Set url, events or enabled; that it failed or was disabled before is forgotten."""
    query = update(webhooks).where(webhooks.c.id == endpoint_id).values(**values, **_WELL)
    query = query.values(disabled_reason=null())
    return _endpoint(connection.execute(query.returning(*_COLUMNS)).mappings().one())


def rotate(connection: Connection, endpoint_id: str, secret: str, grace: timedelta) -> None:
    """Give the endpoint a new secret; the one it had signs along for `grace`."""
    values = {"old_secret": webhooks.c.secret, "old_secret_until": func.now() + grace}
    query = update(webhooks).where(webhooks.c.id == endpoint_id)
    connection.execute(query.values(**values, secret=secret))


# Failures further apart than this, with nothing sent in between, are not one outage.
APART = timedelta(days=2)


def succeeded(connection: Connection, endpoint_id: str) -> None:
    """Note that the endpoint took a message."""
    failing = (webhooks.c.id == endpoint_id) & webhooks.c.failing_since.is_not(None)
    connection.execute(update(webhooks).where(failing).values(_WELL))


def failed(connection: Connection, endpoint_id: str, error: str, patience: timedelta) -> bool:
    """Note that the endpoint did not take a message; has it failed for longer than `patience`?"""
    begins = webhooks.c.failed_at.is_(None) | (webhooks.c.failed_at < func.now() - APART)
    since = case((begins, func.now()), else_=webhooks.c.failing_since)
    query = (
        update(webhooks)
        .where(webhooks.c.id == endpoint_id)
        .values(failing_since=since, failed_at=func.now(), last_error=error)
        .returning(webhooks.c.failing_since < func.now() - patience)
    )
    return bool(connection.execute(query).scalar_one_or_none())


def disable(connection: Connection, endpoint_id: str, reason: str) -> Endpoint | None:
    """Tell the endpoint nothing more; None: it is gone, disabled, or no project's."""
    query = update(webhooks).where(webhooks.c.id == endpoint_id, webhooks.c.enabled)
    query = query.where(webhooks.c.project_id.is_not(None))
    query = query.values(enabled=False, disabled_reason=reason).returning(*_COLUMNS)
    row = connection.execute(query).mappings().one_or_none()
    return _endpoint(row) if row else None


def remove(connection: Connection, endpoint_id: str) -> None:
    """Forget an endpoint with its deliveries."""
    connection.execute(delete(webhooks).where(webhooks.c.id == endpoint_id))


# While an attempt is under way nobody else takes the delivery; a crash gives it back after this.
LEASE = timedelta(seconds=60)


def _delivery(row: RowMapping) -> Delivery:
    values: dict[str, Any] = dict(row)
    values["event"] = WebhookEvent(row["event"])
    values["state"] = DeliveryState(row["state"])
    return Delivery(**values)


def queue_deliveries(
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


def due_deliveries(connection: Connection, shares: Shares) -> list[Candidate]:
    """Deliveries that could be made now, the longest due first.

    Of a project no more than its share, and to an endpoint no more than its own: nobody's backlog
    hides what is due for others.
    """
    first = (
        select(deliveries.c.id, deliveries.c.next_at)
        .where(deliveries.c.endpoint_id == webhooks.c.id, deliveries.c.next_at <= func.now())
        .where(~quarantine.waits(Loop.DELIVER, deliveries.c.id))
        .order_by(deliveries.c.next_at)
        .limit(shares.endpoint)
        .lateral("first")
    )
    place = func.row_number().over(
        partition_by=webhooks.c.project_id, order_by=(first.c.next_at, first.c.id)
    )
    ranked = (
        select(first.c.id, first.c.next_at, place.label("place"))
        .add_columns(webhooks.c.id.label("endpoint_id"))
        .add_columns(func.coalesce(webhooks.c.project_id, "").label("project_id"))
        .join_from(webhooks, first, true())
        .where(webhooks.c.enabled)
        .subquery()
    )
    columns = (ranked.c.id, ranked.c.endpoint_id, ranked.c.project_id)
    query = select(*columns).where(ranked.c.place <= shares.project).order_by(ranked.c.next_at)
    return [Candidate(*row) for row in connection.execute(query)]


def take_delivery(connection: Connection, delivery_id: str) -> Dispatch | None:
    """The delivery, counted as attempted; None where it is not due or another process has it."""
    due = (
        select(deliveries.c.id)
        .where(deliveries.c.id == delivery_id, deliveries.c.next_at <= func.now())
        .with_for_update(skip_locked=True)
    )
    query = (
        update(deliveries)
        .where(deliveries.c.id == due.scalar_subquery(), webhooks.c.id == deliveries.c.endpoint_id)
        .values(attempts=deliveries.c.attempts + 1, next_at=func.now() + LEASE)
        .returning(
            deliveries.c.id,
            deliveries.c.endpoint_id,
            deliveries.c.attempts,
            deliveries.c.payload,
            webhooks.c.url,
            webhooks.c.secret,
            case((webhooks.c.old_secret_until > func.now(), webhooks.c.old_secret)).label("old"),
            webhooks.c.project_id.is_(None).label("own"),
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
        own=row.own,
    )


def forget_old_deliveries(connection: Connection, age: timedelta, *, limit: int) -> int:
    """Remove up to `limit` deliveries made longer ago, delivered or not; returns how many."""
    oldest = id_at("msg", datetime.now(UTC), -age)  # ids are in the order of the primary key
    old = select(deliveries.c.id).where(deliveries.c.id < oldest)
    old = old.order_by(deliveries.c.id).limit(limit)
    old = old.with_for_update(skip_locked=True)  # what is held is removed with its endpoint
    query = delete(deliveries).where(deliveries.c.id.in_(old.scalar_subquery()))
    return connection.execute(query).rowcount


def _attempt(dispatch: Dispatch) -> ColumnElement[bool]:
    """Is that attempt still the last one?"""
    pending = deliveries.c.state == DeliveryState.PENDING
    return (deliveries.c.id == dispatch.id) & (deliveries.c.attempts == dispatch.attempts) & pending


def release_deliveries(connection: Connection, left: Sequence[Dispatch]) -> None:
    """Have attempts that were broken off made again at once, as if they had not been begun.

    A delivery whose row another transaction holds is being removed with its endpoint.
    """
    again = {"attempts": deliveries.c.attempts - 1, "next_at": func.now()}
    for dispatch in left:
        free = select(deliveries.c.id).where(_attempt(dispatch)).with_for_update(skip_locked=True)
        query = update(deliveries).where(deliveries.c.id == free.scalar_subquery())
        connection.execute(query.values(again))


def settle_delivery(
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


def delivery_page(
    connection: Connection, endpoint_id: str, *, limit: int, before: str | None
) -> list[Delivery]:
    """Up to `limit` deliveries to the endpoint, newest first, older than the id `before`."""
    query = select(deliveries).where(deliveries.c.endpoint_id == endpoint_id)
    query = query.order_by(deliveries.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    return [_delivery(row) for row in connection.execute(query).mappings()]


def replay_delivery(connection: Connection, endpoint_id: str, delivery_id: str) -> Delivery | None:
    """Start a delivery over, at once; None where the endpoint has none of that id."""
    query = (
        update(deliveries)
        .where(deliveries.c.endpoint_id == endpoint_id, deliveries.c.id == delivery_id)
        .values(state=DeliveryState.PENDING, attempts=0, next_at=func.now())
        .returning(deliveries)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _delivery(row) if row else None
