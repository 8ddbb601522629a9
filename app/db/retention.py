"""Jobs whose files expire, and jobs and sweeps that are deleted, so long after their end.

What somebody needs stays. A member of a sweep goes with its sweep: without it, the others could not
be compared.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

from sqlalchemy import Connection, Select, Table, exists, func, select

from app.db import quarantine, tables
from app.db.artifacts import unneeded
from app.db.tables import jobs, sweeps
from app.domain.quarantine import Loop

_Found: TypeAlias = Select[tuple[str, str]]


def _with_files(connection: Connection, age: timedelta) -> _Found:
    published = exists().where(tables.artifacts.c.job_id == jobs.c.id)
    return _ended(jobs, age).where(
        published,
        unneeded(connection),
        jobs.c.files_expired_at.is_(None),
        jobs.c.result.is_not(None),
    )


def _jobs(connection: Connection, age: timedelta) -> _Found:
    return _ended(jobs, age).where(jobs.c.sweep_id.is_(None), unneeded(connection))


def _sweeps(connection: Connection, age: timedelta) -> _Found:
    needed = exists().where(jobs.c.sweep_id == sweeps.c.id, ~unneeded(connection))
    return _ended(sweeps, age).where(~needed)


def _ended(table: Table, age: timedelta) -> _Found:
    return select(table.c.id, table.c.project_id).where(table.c.finished_at < func.now() - age)


def jobs_with_old_files(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of jobs with files that ended longer ago and that nobody needs, the oldest first."""
    return _oldest(connection, _with_files(connection, age), jobs, Loop.EXPIRE, limit)


def old_jobs(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of jobs of no sweep that ended longer ago and that nobody needs, the oldest first."""
    return _oldest(connection, _jobs(connection, age), jobs, Loop.DELETE_JOBS, limit)


def old_sweeps(connection: Connection, age: timedelta, *, limit: int) -> Sequence[str]:
    """Ids of sweeps that ended longer ago and of whose members nobody needs one, oldest first."""
    return _oldest(connection, _sweeps(connection, age), sweeps, Loop.DELETE_SWEEPS, limit)


def _oldest(
    connection: Connection, query: _Found, table: Table, loop: Loop, limit: int
) -> Sequence[str]:
    due = query.where(~quarantine.waits(loop, table.c.id))
    rows = connection.execute(due.order_by(table.c.finished_at).limit(limit))
    return [row.id for row in rows]


def job_with_old_files(connection: Connection, age: timedelta, job_id: str) -> str | None:
    """The project of such a job, whose row is locked; None where it is none, or others hold it."""
    return _locked(connection, _with_files(connection, age), jobs, job_id)


def old_job(connection: Connection, age: timedelta, job_id: str) -> str | None:
    """The same of a job that may be deleted."""
    return _locked(connection, _jobs(connection, age), jobs, job_id)


def old_sweep(connection: Connection, age: timedelta, sweep_id: str) -> str | None:
    """The same of a sweep, whose members are to be locked before."""
    return _locked(connection, _sweeps(connection, age), sweeps, sweep_id)


def _locked(connection: Connection, query: _Found, table: Table, key: str) -> str | None:
    found = query.where(table.c.id == key).with_for_update(skip_locked=True, of=table)
    row = connection.execute(found).one_or_none()
    return row.project_id if row else None
