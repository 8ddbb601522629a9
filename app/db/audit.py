"""The audit log: one row per change a client made."""

from sqlalchemy import Connection, insert, select

from app.db.tables import audit
from app.domain.projects import AuditEntry, Caller

# In place of a key.
SERVICE = "service"

_RECORD = insert(audit)


def record(connection: Connection, caller: Caller, action: str, target: str) -> None:
    """Note a change, in the transaction that makes it."""
    values = {"project_id": caller.project_id, "key_id": caller.key_id}
    connection.execute(_RECORD, values | {"action": action, "target": target})


def record_own(connection: Connection, project_id: str, action: str, target: str) -> None:
    """Note a change that the service made by itself."""
    values = {"project_id": project_id, "key_id": SERVICE, "action": action, "target": target}
    connection.execute(_RECORD, values)


def page(
    connection: Connection, project_id: str, *, limit: int, before: int | None
) -> list[AuditEntry]:
    """Up to `limit` entries, newest first, older than the id `before`."""
    query = (
        select(audit.c.id, audit.c.at, audit.c.key_id, audit.c.action, audit.c.target)
        .where(audit.c.project_id == project_id)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(audit.c.id < before)
    return [AuditEntry(**row) for row in connection.execute(query).mappings()]
