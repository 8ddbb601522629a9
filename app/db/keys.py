"""Rows of API keys. Only digests are stored."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, or_, select, update

from app.db.tables import api_keys, projects
from app.domain.projects import Caller, Key, Limits, Scope
from app.ids import new_id

_COLUMNS = [column for column in api_keys.c if column.name != "sha256"]
# `last_used_at` is exact to this; noting every request would write a row for each read.
USE_NOTED = timedelta(minutes=1)


def _key(row: RowMapping) -> Key:
    values: dict[str, Any] = dict(row)
    values["scope"] = Scope(row["scope"])
    return Key(**values)


def add(
    connection: Connection,
    *,
    project_id: str,
    name: str,
    scope: Scope,
    sha256: bytes,
    expires_at: datetime | None,
) -> Key:
    """Store a key by its digest."""
    row = insert(api_keys).values(
        id=new_id("key"),
        project_id=project_id,
        name=name,
        scope=scope,
        sha256=sha256,
        expires_at=expires_at,
    )
    query = row.returning(*_COLUMNS)
    return _key(connection.execute(query).mappings().one())


def _live() -> Any:
    unexpired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now())
    return api_keys.c.revoked_at.is_(None) & unexpired


_BY_DIGEST = (
    select(
        api_keys.c.id,
        api_keys.c.project_id,
        api_keys.c.scope,
        projects.c.limits,
        func.coalesce(api_keys.c.last_used_at < func.now() - USE_NOTED, True).label("unnoted"),
    )
    .join(projects, projects.c.id == api_keys.c.project_id)
    .where(api_keys.c.sha256 == bindparam("digest"), _live())
)


def find_caller(connection: Connection, sha256: bytes) -> Caller | None:
    """Who has the live key of that digest; notes that it was used."""
    row = connection.execute(_BY_DIGEST, {"digest": sha256}).one_or_none()
    if row is None:
        return None
    if row.unnoted:
        # Nobody waits here for another request of the same key.
        free = (
            select(api_keys.c.id).where(api_keys.c.id == row.id).with_for_update(skip_locked=True)
        )
        used = update(api_keys).where(api_keys.c.id == free.scalar_subquery())
        connection.execute(used.values(last_used_at=func.now()))
    return Caller(row.id, row.project_id, Scope(row.scope), Limits(**row.limits))


def _of_project(project_id: str) -> Select[Any]:
    return select(*_COLUMNS).where(api_keys.c.project_id == project_id)


def listing(connection: Connection, project_id: str) -> list[Key]:
    """The project's keys, revoked and expired ones included, newest first."""
    query = _of_project(project_id).order_by(api_keys.c.id.desc())
    return [_key(row) for row in connection.execute(query).mappings()]


def get_live(connection: Connection, project_id: str, key_id: str) -> Key | None:
    """The key, unless it is revoked or expired."""
    query = _of_project(project_id).where(api_keys.c.id == key_id, _live())
    row = connection.execute(query).mappings().one_or_none()
    return _key(row) if row else None


def end(connection: Connection, project_id: str, key_id: str, *, grace: timedelta) -> Key | None:
    """Have a live key end after `grace`, at once where that is zero; None where there is none."""
    now = func.now()
    ended = {"expires_at": func.least(api_keys.c.expires_at, now + grace)}
    query = (
        update(api_keys)
        .where(api_keys.c.project_id == project_id, api_keys.c.id == key_id, _live())
        .values({"revoked_at": now} if not grace else ended)
        .returning(*_COLUMNS)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _key(row) if row else None


def count(connection: Connection) -> int:
    """How many keys there are."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()
