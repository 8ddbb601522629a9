"""Mixed n:m: every group keeps a whole number of each m weights, and the total stays exact."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from app.errors import RecipeError
from app.recipes.pattern import NM
from workers.pruning.allocation.ecoflap.water_filling import Group, ideal_keeps

_TRIES = 100_000


def keep_levels(groups: Sequence[Group], pattern: NM, max_sparsity: float) -> list[int]:
    """How many of each m weights the groups keep, n of m in the mean over all weights.

    Groups of one size trade levels freely. Between sizes levels are worth different numbers of
    weights, so the totals per size are sought that meet the budget exactly, nearest to the
    water-filling solution.

    Args:
        groups: their weights are multiples of m.
        pattern: n sets the budget.
        max_sparsity: the cap of a group.

    Raises:
        AllocationScoreError: a score is zero, negative or not finite.
        RecipeError: no mix meets the budget.
    """
    n, m = pattern.n, pattern.m
    keep = sum(group.weights for group in groups) // m * n
    ideal = [
        value * m / group.weights
        for value, group in zip(ideal_keeps(groups, keep, max_sparsity), groups, strict=True)
    ]
    low = pattern.kept_at(max_sparsity)
    sizes: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        sizes[group.weights // m].append(index)
    totals = _totals(
        list(sizes), [_Span(ideal, members, low, m) for members in sizes.values()], keep
    )
    if totals is None:
        raise RecipeError(
            f"no mix of n:{m} blocks keeps exactly {n} of {m} weights: block sizes differ too "
            "much; give each modality its own budget, or use the unstructured pattern"
        )
    levels = [0] * len(groups)
    for members, total in zip(sizes.values(), totals, strict=True):
        shared = _share([ideal[i] for i in members], total, low, m)
        for index, level in zip(members, shared, strict=True):
            levels[index] = level
    return levels


class _Span:
    """Levels that the groups of one size have together: wished for, fewest, most."""

    def __init__(self, ideal: Sequence[Fraction], members: Sequence[int], low: int, m: int) -> None:
        self.wish = sum((ideal[i] for i in members), Fraction(0))
        self.fewest, self.most = low * len(members), m * len(members)

    def near(self, count: int) -> list[int]:
        """Up to `count` possible totals, nearest to the wish first."""
        middle = round(self.wish)
        around = range(
            max(self.fewest, middle - count // 2), min(self.most, middle + count // 2) + 1
        )
        return sorted(around, key=lambda total: (abs(total - self.wish), total))


def _totals(units: Sequence[int], spans: Sequence[_Span], keep: int) -> tuple[int, ...] | None:
    """Levels per size with sum(units * levels) = keep, nearest to the wishes; else None."""
    *free, last = spans
    count = int(_TRIES ** (1 / len(free))) if free else 0
    best: tuple[Fraction, tuple[int, ...]] | None = None
    for chosen in itertools.product(*(span.near(count) for span in free)):
        rest = keep - sum(u * total for u, total in zip(units, chosen, strict=False))
        total, remainder = divmod(rest, units[-1])
        if remainder or not last.fewest <= total <= last.most:
            continue
        totals = (*chosen, total)
        off = sum(
            (u * abs(t - s.wish) for u, t, s in zip(units, totals, spans, strict=True)), Fraction(0)
        )
        if best is None or off < best[0]:
            best = off, totals
    return None if best is None else best[1]


def _share(ideal: Sequence[Fraction], total: int, low: int, high: int) -> list[int]:
    """Whole levels that sum to `total`, each nearest to its ideal."""
    levels = [max(low, math.floor(value)) for value in ideal]
    while (missing := total - sum(levels)) != 0:
        step = 1 if missing > 0 else -1
        movable = [i for i, level in enumerate(levels) if low <= level + step <= high]
        index = max(movable, key=lambda i: (step * (ideal[i] - levels[i]), -i))
        levels[index] += step
    return levels
