"""One round of measuring and pruning: what it works on, what ranks weights, how many go where."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from app.recipes.recipe import Recipe
from workers.pruning.allocation import allocate
from workers.pruning.calibration.backward import Backward
from workers.pruning.calibration.statistics import Statistic
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, steps
from workers.pruning.engine.block_checkpoints import BlockCheckpoints
from workers.pruning.engine.dense_pass import (
    Rank,
    by_magnitude,
    rank_by_gradients,
    rank_on_dense_model,
)
from workers.pruning.engine.report_builder import ReportBuilder
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Criterion
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints
from workers.pruning.selection.kth import MakeScores


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the rounds of a run; most runs have one.

    Attributes:
        adapter: the model.
        recipe: what to do in this round.
        batches: calibration inputs.
        targets: the matrices.
        criterion: what ranks weights.
        builder: keeps the report.
        name: tells the rounds of a run apart.
        checkpoints: keep what is finished.
    """

    adapter: Adapter
    recipe: Recipe
    batches: Sequence[Batch]
    targets: Targets
    criterion: Criterion
    builder: ReportBuilder
    name: str = "0"
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)

    def block_checkpoints(self, part: str) -> BlockCheckpoints:
        """The finished blocks of a part of the round."""
        return BlockCheckpoints(self.checkpoints, f"{self.name}/{part}", self.targets, self.builder)

    def walk(self, part: str, done: Collection[Block]) -> Iterator[Step]:
        """Through the blocks up to the last that counts; see `steps`."""
        activations = ActivationCheckpoints(self.checkpoints, f"{self.name}/{part}-activations")
        last = self.targets.last
        return steps(self.adapter, self.batches, last=last, activations=activations, done=done)


def ranked(stage: Stage) -> dict[Matrix, Rank]:
    """What ranks the weights of the model as it is; magnitude where the choice is made later."""
    targets, criterion, builder = stage.targets, stage.criterion, stage.builder
    importance = stage.recipe.importance
    if importance.needs_gradient:
        backward = Backward(stage.adapter, stage.batches, builder.batch)
        return rank_by_gradients(backward, stage.recipe, targets, criterion, builder)
    by_importance = stage.recipe.allocation.ranks_by_importance
    if importance.schedule == "sequential" and not by_importance:
        return by_magnitude(targets)
    checkpoints = stage.block_checkpoints("dense")
    return rank_on_dense_model(
        lambda done: stage.walk("dense", done), targets, criterion, builder, checkpoints
    )


def counted(stage: Stage, ranks: Mapping[Matrix, Rank]) -> dict[Matrix, int]:
    """How many weights each matrix loses."""
    name = f"{stage.name}/counts"
    if (kept := stage.checkpoints.get(name)) is not None:
        return {matrix: kept.values[matrix.name] for matrix in stage.targets.blocks}
    ranking = ranks if stage.recipe.allocation.ranks_by_importance else by_magnitude(stage.targets)

    def scored(rank: Rank) -> MakeScores:
        def scores() -> torch.Tensor:
            stage.adapter.memory.release()
            return rank()

        return scores

    counts = allocate(stage.recipe, {matrix: scored(rank) for matrix, rank in ranking.items()})
    named = {matrix.name: count for matrix, count in counts.items()}
    stage.checkpoints.put(name, Entry(named))
    return counts


TOGETHER = 1 << 30
"""Bytes that the statistics of a block's experts may take at a time. Second moments of hundreds of
experts are many times the size of their weights."""


def watched_together(
    targets: Targets, block: Block, statistic: type[Statistic]
) -> list[list[Matrix]]:
    """Matrices whose statistics are summed at a time: all of them, or the block's experts in parts.

    The first part has everything else, and as many experts as there is room for.
    """
    groups = [[matrix for matrix in targets.blocks if not matrix.routed]]
    experts: dict[nn.Module, list[Matrix]] = defaultdict(list)
    for matrix in targets.due.get(block, ()):
        if matrix.routed:
            experts[matrix.callers[0]].append(matrix)
    room = TOGETHER
    for matrices in experts.values():
        size = statistic.size(matrices[0].weight.shape[1])
        if size > room and room < TOGETHER:
            groups.append([])
            room = TOGETHER
        groups[-1] += matrices
        room -= size
    return groups
