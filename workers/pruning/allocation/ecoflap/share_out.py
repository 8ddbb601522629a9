"""From scores to the number of weights each matrix loses."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from app.domain.allocation_scores import AllocationScores
from app.domain.budgets import total
from app.domain.errors import RecipeError
from app.domain.recipe import NM, ECoFLaP, Recipe, Unstructured
from app.domain.report import AllocationReport, GroupReport
from workers.pruning.allocation.ecoflap.levels import keep_levels
from workers.pruning.allocation.ecoflap.ranking import Scored, resolved_pairs, score_groups
from workers.pruning.allocation.ecoflap.water_filling import Group, keep_counts
from workers.pruning.models.structure import Block, Matrix, Tower
from workers.pruning.selection import Selection, budget

_RESOLVED = 0.8


@dataclass(frozen=True, slots=True)
class SharedOut:
    """What each matrix loses, how that came about, and what the user should hear."""

    selections: dict[Matrix, Selection]
    report: AllocationReport
    warnings: tuple[str, ...]


def share_out(
    recipe: Recipe,
    allocation: ECoFLaP,
    blocks: Mapping[Matrix, Block],
    towers: Sequence[Tower],
    scores: AllocationScores,
) -> SharedOut:
    """Share the budget out over the matrices.

    Every pool (the model, or each modality) loses exactly what `budgets.total` says.
    Matrices the loss does not depend on stay at the target; the others compete.

    Args:
        recipe: target and pattern.
        allocation: the recipe's.
        blocks: the matrices with the block each lies in, in execution order.
        towers: of the model.
        scores: of these matrices.

    Raises:
        AllocationScoreError: a score is missing, zero, negative or not finite; it is named.
        RecipeError: no mixed n:m pattern meets the budget.
    """
    pools: dict[str, list[Matrix]] = defaultdict(list)
    for matrix in blocks:
        pools[matrix.modality if allocation.budget == "modality" else ""].append(matrix)
    selections: dict[Matrix, Selection] = {}
    entries: list[GroupReport] = []
    groups: list[Scored] = []
    for members in pools.values():
        named = _named(members, allocation.granularity, blocks, towers)
        found = score_groups(scores, named, allocation.aggregate)
        pool = _Pool(recipe, allocation, members, found)
        selections |= pool.selections()
        entries += pool.entries(selections)
        groups += found
    resolved = resolved_pairs(groups)
    outside = [matrix.name for matrix in blocks if matrix.name in set(scores.outside)]
    return SharedOut(
        {matrix: selections[matrix] for matrix in blocks},
        AllocationReport(scores=scores, groups=tuple(entries), resolved=resolved),
        tuple(_warnings(resolved, groups, outside)),
    )


class _Pool:
    """One budget and the groups that compete for it."""

    def __init__(
        self, recipe: Recipe, allocation: ECoFLaP, members: Sequence[Matrix], groups: list[Scored]
    ) -> None:
        self._recipe, self._pattern = recipe, recipe.pattern
        self._sparsity = recipe.sparsity_of(members[0].modality)
        step = 1 / self._pattern.m if isinstance(self._pattern, NM) else 0.0
        self._cap = allocation.cap(self._sparsity, step)
        self._members = members
        self._scored = groups
        self._groups = [Group(g.name, g.weights, g.score) for g in groups]

    def selections(self) -> dict[Matrix, Selection]:
        if isinstance(self._pattern, NM):
            return self._levels(self._pattern)
        inside = {matrix for group in self._scored for matrix in group.matrices}
        outside = [matrix for matrix in self._members if matrix not in inside]
        alone = sum(m.numel for m in outside)
        lost_alone = total(self._recipe, alone, self._sparsity)
        lost = _split(outside, lost_alone)
        if self._groups:
            weights = sum(m.numel for m in self._members)
            lose = total(self._recipe, weights, self._sparsity) - lost_alone
            kept = keep_counts(self._groups, weights - alone - lose, self._cap)
            for group, count in zip(self._scored, kept, strict=True):
                lost |= _split(group.matrices, group.weights - count)
        return {matrix: Selection(self._pattern, count) for matrix, count in lost.items()}

    def entries(self, selections: Mapping[Matrix, Selection]) -> list[GroupReport]:
        return [
            GroupReport(
                name=group.name,
                weights=group.weights,
                score=group.score,
                stderr=group.stderr,
                pruned=sum(selections[matrix].count for matrix in group.matrices),
            )
            for group in self._scored
        ]

    def _levels(self, pattern: NM) -> dict[Matrix, Selection]:
        levels = dict.fromkeys(self._members, pattern.n)
        for matrix in self._members:
            _check_divides(matrix, pattern)
        if self._groups:
            kept = keep_levels(self._groups, pattern, self._cap)
            for group, level in zip(self._scored, kept, strict=True):
                levels |= dict.fromkeys(group.matrices, level)
        return {matrix: _n_of_m(matrix, level, pattern.m) for matrix, level in levels.items()}


def _named(
    members: Sequence[Matrix],
    granularity: Literal["block", "matrix", "tower"],
    blocks: Mapping[Matrix, Block],
    towers: Sequence[Tower],
) -> dict[str, list[Matrix]]:
    tower_of = {block: tower.name for tower in towers for block in tower.blocks}
    named: dict[str, list[Matrix]] = defaultdict(list)
    for matrix in members:
        block = blocks[matrix]
        match granularity:
            case "block":
                named[block.name].append(matrix)
            case "matrix":
                named[matrix.name].append(matrix)
            case "tower":
                named[tower_of[block]].append(matrix)
    return named


def _split(matrices: Sequence[Matrix], count: int) -> dict[Matrix, int]:
    """A group's count over its matrices: the same sparsity, the rest by largest remainder."""
    weights = sum(matrix.numel for matrix in matrices)
    exact = [Fraction(count * matrix.numel, weights) for matrix in matrices]
    counts = [math.floor(value) for value in exact]
    order = sorted(range(len(matrices)), key=lambda i: (counts[i] - exact[i], i))
    for index in order[: count - sum(counts)]:
        counts[index] += 1
    return dict(zip(matrices, counts, strict=True))


def _check_divides(matrix: Matrix, pattern: NM) -> None:
    rows, columns = matrix.weight.shape
    try:
        budget((rows, columns), 0.0, pattern)
    except RecipeError as error:
        raise RecipeError(f"{matrix.name}: {error}") from error


def _n_of_m(matrix: Matrix, level: int, m: int) -> Selection:
    if level == m:
        return Selection(Unstructured(), 0)
    return Selection(NM(n=level, m=m), matrix.numel // m * (m - level))


def _warnings(
    resolved: float | None, groups: Sequence[Scored], outside: Sequence[str]
) -> list[str]:
    found = []
    if outside:
        first = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")  # noqa: PLR2004 - a taste
        found.append(
            f"the loss does not depend on {len(outside)} matrices ({first}); they stay at the "
            "target sparsity"
        )
    if len(groups) > 1 and len({group.score for group in groups}) == 1:
        found.append("all scores are equal: they tell no block from another")
    if len(groups) > 1 and resolved is None:
        found.append("scores of one batch have no known error; give smaller batches")
    elif resolved is not None and resolved < _RESOLVED:
        found.append(
            f"the ranking of blocks is not resolved: the order of {resolved:.0%} of the pairs is "
            "significant; measure on more samples, or in smaller batches"
        )
    return found
