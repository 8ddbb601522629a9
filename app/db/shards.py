"""Rows of shards: parts of a running job's measurement."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, func, insert, null, select, update

from app.db.jobs import to_stored
from app.db.tables import jobs, shards
from app.domain.jobs import Job, JobStatus
from app.domain.shards import Part, Shard, merge
from app.domain.submission import JobSpec
from app.recipes.allocation_scores import AllocationScores


def post(connection: Connection, job: Job, spec: JobSpec, parts: Sequence[Part]) -> None:
    """Offer the parts that the job's attempt begins; scores of the very same ones stay.

    Args:
        connection: a transaction.
        job: as it was claimed.
        spec: the job as it is carried out.
        parts: of its measurement.
    """
    content = to_stored(spec)
    mine = shards.c.job_id == job.id
    query = select(shards.c.spec, shards.c.part).where(mine).order_by(shards.c.number)
    known = [(row.spec, row.part) for row in connection.execute(query)]
    wanted = [(content, asdict(part)) for part in parts]
    if known == wanted:
        again = update(shards).where(mine).values(attempt=job.attempt, taken_at=null())
        connection.execute(again)
        return
    connection.execute(delete(shards).where(mine))
    common = {"job_id": job.id, "attempt": job.attempt, "spec": content}
    rows = [common | {"number": n, "part": asdict(part)} for n, part in enumerate(parts)]
    connection.execute(insert(shards), rows)


def take(connection: Connection, job_id: str, worker: str, *, own: bool) -> Shard | None:
    """The next part of a running job without a result; of those taken, the longest out.

    Args:
        connection: a transaction.
        job_id: of the job.
        worker: who takes it.
        own: whether it is the job's own worker, which also measures what others have taken.
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
    if not own:
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
    spec = JobSpec.model_validate(row.spec)
    return Shard(job_id, number, row.attempt, spec, Part(**row.part))


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


def hand_in(connection: Connection, shard: Shard, scores: AllocationScores) -> None:
    """Store the scores of a shard; second ones, or those of another attempt, change nothing."""
    connection.execute(
        update(shards)
        .where(
            shards.c.job_id == shard.job_id,
            shards.c.number == shard.number,
            shards.c.attempt == shard.attempt,
            shards.c.scores.is_(None),
        )
        .values(scores=scores.model_dump(mode="json"))
    )


def merged(connection: Connection, job_id: str) -> AllocationScores | None:
    """The scores of the whole measurement; None while a shard has none."""
    query = select(shards.c.scores).where(shards.c.job_id == job_id).order_by(shards.c.number)
    found = list(connection.execute(query).scalars())
    return None if None in found else merge(map(AllocationScores.model_validate, found))


def forget_ended(connection: Connection) -> None:
    """Remove those of jobs that have ended."""
    ended = [status for status in JobStatus if status.terminal]
    theirs = select(jobs.c.id).where(jobs.c.id == shards.c.job_id, jobs.c.status.in_(ended))
    connection.execute(delete(shards).where(theirs.exists()))
