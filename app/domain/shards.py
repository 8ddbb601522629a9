"""Parts of one measurement, shared out among workers.

The job's own worker posts them and computes them one after the other; others help as long as there
are any. Nobody waits for a helper: where nothing is left to take, the job's worker computes what
is still out itself, and the first result counts. So a helper that is lost costs nothing, and one
worker alone does all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from app.domain.submission import JobSpec
from app.recipes.allocation_scores import AllocationScores

WANTED = 16  # parts, so that several workers end at about the same time
MOST_HELPERS = 8  # messages sent for one job


@dataclass(frozen=True, slots=True)
class Part:
    """Matrices `first` up to `last`, exclusive, in execution order, on one batch; all draws."""

    batch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A part that was taken.

    Attributes:
        job_id: of the job it belongs to.
        number: among the job's.
        attempt: of the job.
        spec: the job as it is carried out; its model at the commit that is pruned.
        part: what to measure.
    """

    job_id: str
    number: int
    attempt: int
    spec: JobSpec
    part: Part


def cut(batches: int, blocks: Sequence[int]) -> list[Part]:
    """Whole blocks on single batches, batch by batch, about `WANTED` of them or more.

    Args:
        batches: how many there are.
        blocks: matrices in each block, in execution order.
    """
    pieces = min(len(blocks), max(1, -(-WANTED // batches)))
    edges = [0, *accumulate(blocks)]
    marks = [edges[len(blocks) * i // pieces] for i in range(pieces + 1)]
    return [Part(batch, a, b) for batch in range(batches) for a, b in pairwise(marks)]


def merge(parts: Iterable[AllocationScores]) -> AllocationScores:
    """The scores of the whole measurement, from those of all its parts in their order."""
    by_batch: dict[tuple[int, ...], AllocationScores] = {}
    for part in parts:
        known = by_batch.get(part.batches)
        by_batch[part.batches] = part if known is None else known.merged(part)
    whole, *others = by_batch.values()
    for other in others:
        whole = whole.merged(other)
    return whole
