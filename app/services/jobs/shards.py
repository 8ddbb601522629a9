"""A measurement shared out among workers: posted, taken, handed in; each a transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from app.db import shards
from app.domain.jobs import Job
from app.domain.shards import Part, Shard
from app.recipes.allocation_scores import AllocationScores


def post(connection: Connection, job: Job, spec: dict[str, Any], parts: Sequence[Part]) -> None:
    """Offer the parts of a measurement that the job's attempt begins."""
    shards.post(connection, job, spec, parts)


def take(connection: Connection, job_id: str, worker: str, *, own: bool) -> Shard | None:
    """The next part to measure; the job's `own` worker also does what others have not ended."""
    return shards.take(connection, job_id, worker, fresh=not own)


def wanted(connection: Connection, shard: Shard) -> bool:
    """Whether it makes sense to go on with a part."""
    return shards.wanted(connection, shard)


def hand_in(connection: Connection, shard: Shard, scores: AllocationScores) -> None:
    """Store a part's result."""
    shards.put(connection, shard, scores.model_dump(mode="json"))


def merged(connection: Connection, job_id: str) -> AllocationScores | None:
    """The whole measurement; None while a part is missing."""
    found = shards.results(connection, job_id)
    if found is None:
        return None
    by_batch: dict[tuple[int, ...], AllocationScores] = {}
    for each in found:
        part = AllocationScores.model_validate(each)
        known = by_batch.get(part.batches)
        by_batch[part.batches] = part if known is None else known.merged(part)
    whole, *others = by_batch.values()
    for other in others:
        whole = whole.merged(other)
    return whole
