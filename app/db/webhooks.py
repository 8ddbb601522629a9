"""Rows of webhook endpoints."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, null, select, update

from app.db.tables import webhooks
from app.domain.ids import new_id
from app.domain.webhooks import Endpoint, WebhookEvent

_table = webhooks.c
_COLUMNS = (
    _table.id,
    _table.project_id,
    _table.url,
    _table.events,
    _table.enabled,
    _table.disabled_reason,
    _table.created_at,
)


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
    query = select(*_COLUMNS).where(_table.project_id == project_id).order_by(_table.id.desc())
    return [_endpoint(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, project_id: str, endpoint_id: str) -> Endpoint | None:
    """One endpoint."""
    query = select(*_COLUMNS).where(_table.project_id == project_id, _table.id == endpoint_id)
    row = connection.execute(query).mappings().one_or_none()
    return _endpoint(row) if row else None


_INTERESTED = select(_table.id).where(
    _table.project_id == bindparam("project_id"),
    _table.enabled,
    _table.events.contains(bindparam("wanted", type_=_table.events.type)),
)


def interested(connection: Connection, project_id: str, event: WebhookEvent) -> Sequence[str]:
    """Ids of the endpoints that want to be told."""
    told = {"project_id": project_id, "wanted": [event]}
    return connection.execute(_INTERESTED, told).scalars().all()


def change(connection: Connection, endpoint_id: str, **values: Any) -> Endpoint:
    """Set url, events or enabled; a reason for being disabled is forgotten."""
    query = update(webhooks).where(_table.id == endpoint_id)
    query = query.values(**values, disabled_reason=null())
    return _endpoint(connection.execute(query.returning(*_COLUMNS)).mappings().one())


def rotate(connection: Connection, endpoint_id: str, secret: str, grace: timedelta) -> None:
    """Give the endpoint a new secret; the one it had signs along for `grace`."""
    values = {"old_secret": _table.secret, "old_secret_until": func.now() + grace}
    query = update(webhooks).where(_table.id == endpoint_id)
    connection.execute(query.values(**values, secret=secret))


def disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    """Tell the endpoint nothing more."""
    query = update(webhooks).where(_table.id == endpoint_id)
    connection.execute(query.values(enabled=False, disabled_reason=reason))


def remove(connection: Connection, endpoint_id: str) -> None:
    """Forget an endpoint with its deliveries."""
    connection.execute(delete(webhooks).where(_table.id == endpoint_id))
