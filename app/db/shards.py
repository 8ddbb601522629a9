"""Rows of shards: parts of a running job's measurement."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, func, insert, null, select, update

from app.db.tables import jobs, shards
from app.domain.jobs import Job, JobStatus
from app.domain.shards import Part, Shard


def post(connection: Connection, job: Job, spec: dict[str, Any], parts: Sequence[Part]) -> None:
    """Offer the parts; what an earlier attempt has of the very same ones stays."""
    mine = shards.c.job_id == job.id
    query = select(shards.c.spec, shards.c.part).where(mine).order_by(shards.c.number)
    known = [(row.spec, row.part) for row in connection.execute(query)]
    wanted = [(spec, asdict(part)) for part in parts]
    if known == wanted:
        again = update(shards).where(mine).values(attempt=job.attempt, taken_at=null())
        connection.execute(again)
        return
    connection.execute(delete(shards).where(mine))
    common = {"job_id": job.id, "attempt": job.attempt, "spec": spec}
    rows = [common | {"number": n, "part": asdict(part)} for n, part in enumerate(parts)]
    connection.execute(insert(shards), rows)


def take(connection: Connection, job_id: str, worker: str, *, fresh: bool) -> Shard | None:
    """The next part of a running job without a result; of those taken, the longest out.

    Args:
        connection: a transaction.
        job_id: of the job.
        worker: who takes it.
        fresh: only one that nobody has taken.
    """
    running = (jobs.c.status == JobStatus.RUNNING) & (jobs.c.attempt == shards.c.attempt)
    query = (
        select(shards.c.number)
        .join(jobs, jobs.c.id == shards.c.job_id)
        .where(shards.c.job_id == job_id, shards.c.scores.is_(None), running)
        .order_by(shards.c.taken_at.nulls_first(), shards.c.number)
        .limit(1)
        .with_for_update(skip_locked=True, of=shards)
    )
    if fresh:
        query = query.where(shards.c.taken_at.is_(None))
    number = connection.execute(query).scalar_one_or_none()
    if number is None:
        return None
    taken = (
        update(shards)
        .where(shards.c.job_id == job_id, shards.c.number == number)
        .values(taken_at=func.now(), worker=worker)
        .returning(shards)
    )
    row = connection.execute(taken).one()
    return Shard(job_id, number, row.attempt, row.spec, Part(**row.part))


def wanted(connection: Connection, shard: Shard) -> bool:
    """Whether nobody has the result yet, and the job's attempt still runs."""
    query = (
        select(shards.c.number)
        .join(jobs, jobs.c.id == shards.c.job_id)
        .where(
            shards.c.job_id == shard.job_id,
            shards.c.number == shard.number,
            shards.c.attempt == shard.attempt,
            shards.c.scores.is_(None),
            jobs.c.status == JobStatus.RUNNING,
            jobs.c.attempt == shard.attempt,
        )
    )
    return connection.execute(query).first() is not None


def put(connection: Connection, shard: Shard, scores: dict[str, Any]) -> None:
    """Store a result; a second one, or one for another attempt, changes nothing."""
    connection.execute(
        update(shards)
        .where(
            shards.c.job_id == shard.job_id,
            shards.c.number == shard.number,
            shards.c.attempt == shard.attempt,
            shards.c.scores.is_(None),
        )
        .values(scores=scores)
    )


def results(connection: Connection, job_id: str) -> list[dict[str, Any]] | None:
    """All results by number; None where one is missing."""
    query = select(shards.c.scores).where(shards.c.job_id == job_id).order_by(shards.c.number)
    found = list(connection.execute(query).scalars())
    return None if None in found else found


def forget_ended(connection: Connection) -> None:
    """Remove those of jobs that have ended."""
    ended = [status for status in JobStatus if status.terminal]
    theirs = select(jobs.c.id).where(jobs.c.id == shards.c.job_id, jobs.c.status.in_(ended))
    connection.execute(delete(shards).where(theirs.exists()))
