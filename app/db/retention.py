"""Jobs and sweeps that ended so long ago that they are deleted, unless somebody needs them.

A member of a sweep goes with its sweep: without it, the others could not be compared.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Select, exists, func, select

from app.db import artifacts, quarantine
from app.db.tables import jobs, sweeps
from app.domain.quarantine import Loop


def _jobs(connection: Connection, age: timedelta) -> Select[tuple[str, str]]:
    return select(jobs.c.id, jobs.c.project_id).where(
        jobs.c.finished_at < func.now() - age,
        jobs.c.sweep_id.is_(None),
        artifacts.unneeded(connection),
    )


def _sweeps(connection: Connection, age: timedelta) -> Select[tuple[str, str]]:
    needed = exists().where(jobs.c.sweep_id == sweeps.c.id, ~artifacts.unneeded(connection))
    return select(sweeps.c.id, sweeps.c.project_id).where(
        sweeps.c.finished_at < func.now() - age, ~needed
    )


def old_jobs(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of jobs of no sweep that ended longer ago and that nobody needs, the oldest first."""
    query = _jobs(connection, age).where(~quarantine.waits(Loop.DELETE_JOBS, jobs.c.id))
    rows = connection.execute(query.order_by(jobs.c.finished_at).limit(limit))
    return [row.id for row in rows]


def old_sweeps(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of sweeps that ended longer ago and of whose members nobody needs one, oldest first."""
    query = _sweeps(connection, age).where(~quarantine.waits(Loop.DELETE_SWEEPS, sweeps.c.id))
    rows = connection.execute(query.order_by(sweeps.c.finished_at).limit(limit))
    return [row.id for row in rows]


def old_job(connection: Connection, age: timedelta, job_id: str) -> str | None:
    """The project of such a job, whose row is locked; None where it is none, or others hold it."""
    query = _jobs(connection, age).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update(skip_locked=True, of=jobs)).one_or_none()
    return row.project_id if row else None


def old_sweep(connection: Connection, age: timedelta, sweep_id: str) -> str | None:
    """The same of a sweep, whose members are to be locked before."""
    query = _sweeps(connection, age).where(sweeps.c.id == sweep_id)
    row = connection.execute(query.with_for_update(skip_locked=True, of=sweeps)).one_or_none()
    return row.project_id if row else None
