"""Rows of sweeps. Their members are rows of jobs."""

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from app.db import events
from app.db.tables import sweeps
from app.domain.sweeps import Sweep, SweepRequest, SweepStatus
from app.ids import new_id


def _sweep(row: RowMapping) -> Sweep:
    values: dict[str, Any] = dict(row)
    values["status"] = SweepStatus(row["status"])
    values["stored_request"] = values.pop("request")
    return Sweep(**values)


def create(
    connection: Connection,
    project_id: str,
    request: SweepRequest,
) -> Sweep:
    """Store a queued sweep."""
    values = {
        "id": new_id("swp"),
        "project_id": project_id,
        "request": request.model_dump(mode="json", exclude_unset=True),
        "labels": request.labels,
        "metadata": request.metadata,
    }
    query = insert(sweeps).values(**values).returning(sweeps)
    return _sweep(connection.execute(query).mappings().one())


def get(connection: Connection, project_id: str, sweep_id: str) -> Sweep | None:
    """The project's sweep of that id, if there is one."""
    query = select(sweeps).where(sweeps.c.id == sweep_id, sweeps.c.project_id == project_id)
    row = connection.execute(query).mappings().one_or_none()
    return _sweep(row) if row else None


def lock(connection: Connection, sweep_id: str) -> Sweep:
    """A sweep that exists, ours until the transaction ends.

    Whoever locks members too locks them first.
    """
    query = select(sweeps).where(sweeps.c.id == sweep_id).with_for_update()
    return _sweep(connection.execute(query).mappings().one())


def page(connection: Connection, project_id: str, *, limit: int, before: str | None) -> list[Sweep]:
    """Up to `limit` sweeps, newest first, older than the id `before`."""
    query = select(sweeps).where(sweeps.c.project_id == project_id)
    query = query.order_by(sweeps.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(sweeps.c.id < before)
    return [_sweep(row) for row in connection.execute(query).mappings()]


def set_status(connection: Connection, sweep_id: str, status: SweepStatus) -> None:
    """Note where a locked sweep stands."""
    ended = func.now() if status.terminal else None
    query = update(sweeps).where(sweeps.c.id == sweep_id)
    connection.execute(query.values(status=status, finished_at=ended))


def set_best(connection: Connection, sweep_id: str, job_id: str | None) -> None:
    """Point to the best member."""
    connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(best_id=job_id))


def remove(connection: Connection, sweep_id: str) -> None:
    """Remove a sweep without members, and its events."""
    events.remove_logs(connection, [sweep_id])
    connection.execute(delete(sweeps).where(sweeps.c.id == sweep_id))
