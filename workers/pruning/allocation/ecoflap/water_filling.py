"""Sharing a budget out by score: floors first, then proportionally, nobody above full.

keep_i = min(n_i, n_i (1 - max_sparsity) + lambda s_i), lambda such that the sum is the budget
(ECoFLaP, Sung et al., ICLR 2024, arXiv 2310.02998, section 4.2 and its official code). Worked out
in exact rationals and rounded by largest remainder, so that the total is the budget to the weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.errors import AllocationScoreError, RecipeError
from app.recipes.budgets import decimal


@dataclass(frozen=True, slots=True)
class Group:
    """Matrices that share a sparsity: `weights` of them in all, `score` from the first stage."""

    name: str
    weights: int
    score: float


def keep_counts(groups: Sequence[Group], keep: int, max_sparsity: float) -> list[int]:
    """Number of weights each group keeps; the sum is `keep`.

    No group loses more than n_i * max_sparsity wherever whole weights allow that, and never more
    than one weight above it.

    Args:
        groups: with positive, finite scores; only their ratios matter.
        keep: between the sum of the floors n_i (1 - max_sparsity), less one, and all weights.
        max_sparsity: the cap, at least the target.

    Raises:
        AllocationScoreError: a score is zero, negative or not finite; the group is named.
        RecipeError: the budget lies below the floors or above all weights.
    """
    ideal = ideal_keeps(groups, keep, max_sparsity)
    floors = [group.weights * (1 - decimal(max_sparsity)) for group in groups]
    counts = [math.floor(value) for value in ideal]
    order = sorted(range(len(groups)), key=lambda i: (counts[i] - ideal[i], i))
    for index in order[: keep - sum(counts)]:
        counts[index] += 1
    for index, floor in enumerate(floors):
        givers = [i for i, count in enumerate(counts) if count - 1 >= floors[i]]
        if counts[index] < floor and givers:
            counts[max(givers, key=lambda i: (counts[i] - ideal[i], -i))] -= 1
            counts[index] += 1
    return counts


def ideal_keeps(groups: Sequence[Group], keep: int, max_sparsity: float) -> list[Fraction]:
    """The same before rounding."""
    for group in groups:
        if not math.isfinite(group.score) or group.score <= 0:
            raise AllocationScoreError(
                f"{group.name} has the score {group.score:g}; scores must be positive and finite"
            )
    share = decimal(max_sparsity)
    floors = [group.weights * (1 - share) for group in groups]
    if not sum(floors) - 1 < keep <= sum(group.weights for group in groups):
        raise RecipeError(
            f"{keep} weights cannot be kept at a maximum sparsity of {max_sparsity:g}"
        )
    scores = [Fraction(group.score) for group in groups]
    full = [group.weights * share / score for group, score in zip(groups, scores, strict=True)]
    rest = max(keep - sum(floors, Fraction(0)), Fraction(0))
    weight = sum(scores, Fraction(0))
    level = Fraction(0)
    for index in sorted(range(len(groups)), key=full.__getitem__):
        level = rest / weight
        if level < full[index]:
            break
        rest -= groups[index].weights * share
        weight -= scores[index]
    return [
        min(Fraction(group.weights), floor + level * score)
        for group, floor, score in zip(groups, floors, scores, strict=True)
    ]
