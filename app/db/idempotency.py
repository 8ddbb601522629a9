"""Stored answers to requests with an Idempotency-Key."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import idempotency

KEPT = timedelta(hours=24)


def try_lock(connection: Connection, project_id: str, key: str) -> bool:
    """Own the key until this transaction ends; False where another transaction does.

    A crash releases it, so nothing remains "in flight" for ever.
    """
    number = func.hashtextextended(f"{project_id} {key}", 0)
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(number))).scalar_one())


def find(connection: Connection, project_id: str, key: str) -> tuple[bytes, dict[str, Any]] | None:
    """Fingerprint and answer of the request that used the key first; None after 24 h."""
    table = idempotency.c
    query = select(table.fingerprint, table.answer).where(
        table.project_id == project_id, table.key == key, table.created_at > func.now() - KEPT
    )
    row = connection.execute(query).one_or_none()
    return (row.fingerprint, row.answer) if row else None


def store(
    connection: Connection,
    project_id: str,
    key: str,
    *,
    fingerprint: bytes,
    answer: dict[str, Any],
) -> None:
    """Keep an answer; an outdated one of the same key gives way."""
    values = {"fingerprint": fingerprint, "answer": answer}
    new = insert(idempotency).values(values | {"project_id": project_id, "key": key})
    again = values | {"created_at": func.now()}
    connection.execute(new.on_conflict_do_update(constraint=idempotency.primary_key, set_=again))


def forget_old(connection: Connection) -> int:
    """Remove answers older than 24 h; returns how many."""
    query = delete(idempotency).where(idempotency.c.created_at <= func.now() - KEPT)
    return connection.execute(query).rowcount
