"""ECoFLaP's zeroth-order scores, measured in parts that any worker can take over.

A score depends on its matrix, its batch and the seed alone, so parts merge into exactly what one
worker would have measured, whoever measured them and in whatever order.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch

from app.domain.shards import Part, Shard, cut
from app.domain.submission import JobSpec
from app.planning.model_files.files import HubModel, parse_model_source
from app.recipes.allocation_scores import AllocationScores
from app.recipes.recipe import ECoFLaP, Recipe, ZerothOrder
from workers.pipeline.context import RunContext
from workers.pipeline.sources import ModelFiles
from workers.pruning.allocation.ecoflap import measure
from workers.pruning.calibration.walk import first_holding
from workers.pruning.engine.prune import evaluating
from workers.pruning.engine.targets import find_targets
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch

_PAUSE = 0.2  # seconds between two looks at a board with nothing to take


class NotWanted(Exception):  # noqa: N818 - control flow: somebody else was faster
    """The result of a part has come from elsewhere, or its job has ended."""


def measure_together(
    context: RunContext, adapter: Adapter, source: ModelFiles, batches: Sequence[Batch]
) -> AllocationScores | None:
    """The scores of the job, others helping; None where there is nothing to share out."""
    recipe, board = context.spec.recipe, context.board
    if (
        board is None
        or not batches
        or not isinstance(recipe, Recipe)
        or settings_of(recipe) is None
    ):
        return None
    work = Work(adapter, recipe, batches)
    parts = cut(len(work.batches), work.blocks)
    board.post(_pinned(context.spec, source), parts)
    while (found := board.merged()) is None:
        context.report.check()
        shard = board.take()
        if shard is None:  # the last ones are out, or the job is no longer ours
            context.report.wait(_PAUSE)
            continue
        try:
            scores = work.measure(shard.part, _checks(context, board.wanted, shard))
        except NotWanted:
            continue
        board.hand_in(shard, scores)
    return found


class Work:
    """One model with its batches, ready to measure any part."""

    def __init__(self, adapter: Adapter, recipe: Recipe, batches: Iterable[Batch]) -> None:
        """Choose the matrices and the batches that are scored.

        Raises:
            RecipeError: the recipe does not fit the model.
            TypeError: it has no zeroth-order scores.
        """
        settings = settings_of(recipe)
        if settings is None:
            raise TypeError("only zeroth-order scores are measured in parts")
        self._adapter = adapter
        self._settings = settings
        self._seed = recipe.seed
        homes = find_targets(adapter.towers, recipe).blocks
        self._matrices = list(homes)
        self.blocks = [len(list(group)) for _, group in groupby(homes.values())]
        self.batches = first_holding(batches, settings.samples)

    def measure(self, part: Part, check: Callable[[], None]) -> AllocationScores:
        """Scores of the part; `check` is called after every block, and what it raises ends it."""
        with torch.no_grad(), evaluating(self._adapter.model):
            return measure(
                self._adapter,
                self._settings,
                [(part.batch, self.batches[part.batch])],
                self._matrices[part.first : part.last],
                seed=self._seed,
                tick=lambda _batch, _matrix: check(),
            )


def settings_of(recipe: Recipe) -> ZerothOrder | None:
    """The estimator, where its scores are measured in parts."""
    allocation = recipe.allocation
    if isinstance(allocation, ECoFLaP) and isinstance(allocation.scores, ZerothOrder):
        return allocation.scores
    return None


def _pinned(spec: JobSpec, source: ModelFiles) -> JobSpec:
    """What helpers need of the job, its model at the commit this worker has."""
    measured = spec.model_copy(update={"evaluation": None, "quality_gate": None})
    model = parse_model_source(spec.model)
    if not isinstance(model, HubModel) or source.revision is None:
        return measured
    return measured.model_copy(update={"model": f"hf:{model.repo_id}@{source.revision}"})


def _checks(
    context: RunContext, wanted: Callable[[Shard], bool], shard: Shard
) -> Callable[[], None]:
    def check() -> None:
        context.report.check()
        if not wanted(shard):
            raise NotWanted

    return check
