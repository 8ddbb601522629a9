"""Scores of groups from scores of matrices, with their errors."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from app.errors import AllocationScoreError
from app.recipes.allocation import FirstOrder
from app.recipes.allocation_scores import AllocationScores
from workers.pruning.models.layout.structure import Matrix

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, slots=True)
class Scored:
    """One group with its score in every batch.

    Attributes:
        name: of the block, matrix or tower.
        matrices: that share its sparsity.
        batches: score in each batch, over all its matrices.
        mean: the score is the mean over batches, not their sum.
    """

    name: str
    matrices: tuple[Matrix, ...]
    batches: tuple[float, ...]
    mean: bool

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(matrix.numel for matrix in self.matrices)

    @property
    def score(self) -> float:
        """Sum (or mean) over the batches."""
        total = math.fsum(self.batches)
        return total / len(self.batches) if self.mean else total

    @property
    def stderr(self) -> float | None:
        """Standard error of the score, from its spread over batches; None for one batch."""
        return _stderr(self.batches, mean=self.mean)


def score_groups(
    scores: AllocationScores,
    groups: Mapping[str, Sequence[Matrix]],
    aggregate: Literal["sum", "avg"],
) -> list[Scored]:
    """Scores of the groups; matrices outside the loss take no part.

    Raises:
        AllocationScoreError: a matrix has no score, or one that is negative or not finite.
    """
    outside = set(scores.outside)
    found = []
    for name, members in groups.items():
        inside = tuple(matrix for matrix in members if matrix.name not in outside)
        if inside:
            size = sum(matrix.numel for matrix in inside) if aggregate == "avg" else 1
            values = [_values(scores, matrix) for matrix in inside]
            batches = tuple(math.fsum(each) / size for each in zip(*values, strict=True))
            mean = isinstance(scores.estimator, FirstOrder)
            found.append(Scored(name, inside, batches, mean))
    return found


def resolved_pairs(groups: Sequence[Scored]) -> float | None:
    """Share of pairs whose order is significant: 95 %, Student's t over the batches.

    Differences are taken batch by batch: what a batch adds to all groups cancels.
    """
    seen, pairs = 0, 0
    for one, other in combinations(groups, 2):
        differences = [a - b for a, b in zip(one.batches, other.batches, strict=True)]
        error = _stderr(differences, mean=False)
        if error is None:
            return None
        pairs += 1
        seen += abs(math.fsum(differences)) > _quantile(len(differences) - 1) * error
    return seen / pairs if pairs else None


def _values(scores: AllocationScores, matrix: Matrix) -> tuple[float, ...]:
    values = scores.values.get(matrix.name)
    if not values:
        raise AllocationScoreError(f"{matrix.name} has no score; measure it or leave it out")
    for value in values:
        if not math.isfinite(value) or value < 0:
            raise AllocationScoreError(
                f"{matrix.name} has the score {value:g}; scores must be positive and finite"
            )
    return values


def _quantile(freedom: int) -> float:
    """Beyond the table, its expansion about the normal quantile (error below 0.001)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    return 1.96 + 2.372 / freedom + 2.822 / freedom**2


def _stderr(values: Sequence[float], *, mean: bool) -> float | None:
    count = len(values)
    if count < 2:  # noqa: PLR2004 - one value has no spread
        return None
    spread = statistics.stdev(values)
    return spread / math.sqrt(count) if mean else spread * math.sqrt(count)
