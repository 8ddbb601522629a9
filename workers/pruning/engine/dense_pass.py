"""One pass over the dense model: what ranks each matrix's weights against those of others."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from app.recipes.budgets import share
from app.recipes.method import Importance
from app.recipes.methods.magnitude import Magnitude
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from workers.pruning.calibration.backward import Backward
from workers.pruning.calibration.statistics import Calibration, Statistic
from workers.pruning.calibration.walk import Step
from workers.pruning.engine.block_checkpoints import BlockCheckpoints
from workers.pruning.engine.report_builder import ReportBuilder
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Criterion
from workers.pruning.importance.magnitude import MagnitudeCriterion
from workers.pruning.models.layout.structure import Block, Matrix

MAGNITUDE = MagnitudeCriterion(Magnitude())
"""Ranks where nothing else is known of a matrix, or the choice is made later."""


@dataclass(frozen=True, slots=True)
class Rank:
    """A criterion with what it knows about one matrix."""

    matrix: Matrix
    criterion: Criterion
    digest: Any = None

    def __call__(self) -> torch.Tensor:
        """Scores of the matrix, newly made; weights that are zero already come first."""
        return self.criterion.ranking(self.matrix.fetch(), self.digest)


def by_magnitude(targets: Targets) -> dict[Matrix, Rank]:
    """Rank by |w|; no pass needed."""
    return {matrix: Rank(matrix, MAGNITUDE) for matrix in targets.blocks}


def rank_on_dense_model(
    walk: Callable[[set[Block]], Iterable[Step]],
    calibrate: Callable[[type[Statistic]], Calibration[Any]],
    targets: Targets,
    criterion: Criterion,
    *,
    builder: ReportBuilder,
    checkpoints: BlockCheckpoints,
) -> dict[Matrix, Rank]:
    """Rank by the criterion on dense activations.

    A matrix whose inputs were never seen is ranked by magnitude, with a warning; so is an expert
    that saw too few.

    Args:
        walk: through the dense model, given the blocks to pass by.
        calibrate: makes what accumulates a statistic.
        targets: the matrices.
        criterion: what ranks them.
        builder: told.
        checkpoints: what another run has seen, and where this one keeps it.
    """
    if criterion.statistic is None:
        return {m: Rank(m, criterion, criterion.unseen_digest(m)) for m in targets.blocks}
    ranks: dict[Matrix, Rank] = {}

    def rank(due: Iterable[Matrix], digests: Mapping[str, torch.Tensor]) -> None:
        for matrix in due:
            if (digest := digests.get(matrix.name)) is None:
                ranks[matrix] = Rank(matrix, MAGNITUDE)
            else:
                ranks[matrix] = Rank(matrix, criterion, digest.to(matrix.device))

    done = checkpoints.blocks(rank)
    calibration = calibrate(criterion.statistic)
    for step in walk(done) if targets.last not in done else ():
        if step.block in done:
            continue
        if step.block is targets.last:
            step.collect(calibration, targets.blocks)
        else:
            step.advance(calibration, targets.blocks)
        due = targets.due.get(step.block, ())
        with checkpoints.finishing(step.block) as digests:
            for matrix in due:
                statistic = calibration.of(matrix)
                seen = None if statistic is None else statistic.tokens
                if builder.saw_enough(matrix, seen) and statistic is not None:
                    digests[matrix.name] = criterion.digest(statistic)
            rank(due, digests)
        calibration.forget(due)
        builder.progress("calibrating", step.block)
    return ranks


def rank_by_gradients(
    backward: Backward,
    recipe: Recipe,
    targets: Targets,
    criterion: Criterion,
    builder: ReportBuilder,
) -> dict[Matrix, Rank]:
    """Rank by gradients of the loss; a matrix that it does not depend on comes with a warning.

    An expert to which no token was routed is ranked by magnitude instead, where matrices are not
    solved jointly.
    """
    weights = Counter[Modality]()
    for matrix in targets.blocks:
        weights[matrix.modality] += matrix.numel
    pruned = sum(share(count, recipe.sparsity_of(each)) for each, count in weights.items())
    digests = criterion.gradient_digests(backward, list(targets.blocks), pruned)
    ranks: dict[Matrix, Rank] = {}
    for matrix in targets.blocks:
        digest = digests.get(matrix)
        ranks[matrix] = Rank(matrix, criterion, digest)
        if digest is not None:
            continue
        if matrix.routed and recipe.importance.schedule != "joint":
            builder.saw_enough(matrix, None)
            ranks[matrix] = Rank(matrix, MAGNITUDE)
        else:
            builder.unused(matrix)
    return ranks


class Digests:
    """Digests of dense activations by matrix name, (in,) float32 each.

    Attributes:
        found: what this run has measured; empty where it needed no pass over the dense model.
    """

    def __init__(self, known: Mapping[str, torch.Tensor] | None = None) -> None:
        """Begin with what another run has found; None where nothing is known."""
        self._known = known
        self.found: dict[str, torch.Tensor] = {}

    def ranks(
        self, targets: Targets, importance: Importance, criterion: Criterion, builder: ReportBuilder
    ) -> dict[Matrix, Rank] | None:
        """What `rank_on_dense_model` would return, without the pass; None where that is not known.

        What a sequential criterion sees depends on the sparsity. A matrix without a digest saw no
        data in the other run either.
        """
        if self._known is None or not importance.holds_for_any_sparsity:
            return None
        ranks = {}
        for matrix in targets.blocks:
            if matrix.name in self._known:
                digest = self._known[matrix.name].to(matrix.device)
                ranks[matrix] = Rank(matrix, criterion, digest)
            else:
                builder.saw_enough(matrix, None)
                ranks[matrix] = Rank(matrix, MAGNITUDE)
        return ranks

    def keep(self, ranks: Mapping[Matrix, Rank]) -> None:
        """Take in what a survey has found."""
        for matrix, rank in ranks.items():
            if rank.criterion.statistic is not None and isinstance(rank.digest, torch.Tensor):
                self.found[matrix.name] = rank.digest
