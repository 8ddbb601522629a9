"""Rows of webhook endpoints."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    select,
    update,
)

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
    _table.failing_since,
    _table.last_error,
    _table.created_at,
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
    query = select(*_COLUMNS).where(_table.project_id == project_id).order_by(_table.id.desc())
    return [_endpoint(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, project_id: str, endpoint_id: str) -> Endpoint | None:
    """One endpoint."""
    query = select(*_COLUMNS).where(_table.project_id == project_id, _table.id == endpoint_id)
    row = connection.execute(query).mappings().one_or_none()
    return _endpoint(row) if row else None


def lock(connection: Connection, endpoint_id: str) -> None:
    """Let nobody else change or remove the endpoint until this transaction ends.

    Whoever changes an endpoint and its deliveries locks the endpoint first, as its removal does:
    two transactions that begin at different ends would wait for each other.
    """
    query = select(_table.id).where(_table.id == endpoint_id).with_for_update(key_share=True)
    connection.execute(query)


_INTERESTED = select(_table.id).where(
    _table.project_id == bindparam("project_id"),
    _table.enabled,
    _table.events.contains(bindparam("wanted", type_=_table.events.type)),
)


def interested(connection: Connection, project_id: str, event: WebhookEvent) -> Sequence[str]:
    """Ids of the endpoints that want to be told."""
    told = {"project_id": project_id, "wanted": [event]}
    return connection.execute(_INTERESTED, told).scalars().all()


def count(connection: Connection, project_id: str) -> int:
    """How many the project has."""
    query = select(func.count()).where(_table.project_id == project_id)
    return int(connection.execute(query).scalar_one())


def change(connection: Connection, endpoint_id: str, **values: Any) -> Endpoint:
    """Set url, events or enabled; that it failed or was disabled before is forgotten."""
    query = update(webhooks).where(_table.id == endpoint_id).values(**values, **_WELL)
    query = query.values(disabled_reason=null())
    return _endpoint(connection.execute(query.returning(*_COLUMNS)).mappings().one())


def rotate(connection: Connection, endpoint_id: str, secret: str, grace: timedelta) -> None:
    """Give the endpoint a new secret; the one it had signs along for `grace`."""
    values = {"old_secret": _table.secret, "old_secret_until": func.now() + grace}
    query = update(webhooks).where(_table.id == endpoint_id)
    connection.execute(query.values(**values, secret=secret))


# Failures further apart than this, with nothing sent in between, are not one outage.
APART = timedelta(days=2)


def succeeded(connection: Connection, endpoint_id: str) -> None:
    """Note that the endpoint took a message."""
    failing = (_table.id == endpoint_id) & _table.failing_since.is_not(None)
    connection.execute(update(webhooks).where(failing).values(_WELL))


def failed(connection: Connection, endpoint_id: str, error: str, patience: timedelta) -> bool:
    """Note that the endpoint did not take a message; has it failed for longer than `patience`?"""
    begins = _table.failed_at.is_(None) | (_table.failed_at < func.now() - APART)
    since = case((begins, func.now()), else_=_table.failing_since)
    query = (
        update(webhooks)
        .where(_table.id == endpoint_id)
        .values(failing_since=since, failed_at=func.now(), last_error=error)
        .returning(_table.failing_since < func.now() - patience)
    )
    return bool(connection.execute(query).scalar_one_or_none())


def disable(connection: Connection, endpoint_id: str, reason: str) -> Endpoint | None:
    """Tell the endpoint nothing more; None where it is gone or disabled already."""
    query = update(webhooks).where(_table.id == endpoint_id, _table.enabled)
    query = query.values(enabled=False, disabled_reason=reason).returning(*_COLUMNS)
    row = connection.execute(query).mappings().one_or_none()
    return _endpoint(row) if row else None


def remove(connection: Connection, endpoint_id: str) -> None:
    """Forget an endpoint with its deliveries."""
    connection.execute(delete(webhooks).where(_table.id == endpoint_id))
