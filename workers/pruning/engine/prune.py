"""Carry a recipe out on a model in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from app.errors import AllocationScoreError, CalibrationDataError, NonFiniteError
from app.recipes.allocation_scores import AllocationScores
from app.recipes.data import Tokens
from app.recipes.pruning_report import PruningReport
from app.recipes.recipe import Recipe
from app.recipes.reconstruction import LeastSquares
from workers.pruning.allocation import allocate
from workers.pruning.allocation.ecoflap import measure, share_out
from workers.pruning.calibration.backward import Backward
from workers.pruning.calibration.statistics import Hessian, SquareSum, Statistic, squares_of
from workers.pruning.calibration.tokens import check_streams
from workers.pruning.calibration.walk import first_holding
from workers.pruning.engine.block_checkpoints import change
from workers.pruning.engine.dense_pass import (
    Digests,
    Rank,
    by_magnitude,
    rank_by_gradients,
    rank_on_dense_model,
)
from workers.pruning.engine.report_builder import ProgressListener, ReportBuilder
from workers.pruning.engine.stage import Stage, apply_again, block_by_block
from workers.pruning.engine.targets import (
    Targets,
    check_patterns,
    coverage_of,
    find_targets,
    unfed,
)
from workers.pruning.importance import find_criterion
from workers.pruning.importance.criterion import Criterion, Outcome, naming
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.evidence import disagreements
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.reconstruction.least_squares import LeastSquaresSolver
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints
from workers.pruning.selection.kth import MakeScores
from workers.pruning.selection.selection import Selection


def prune(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch] = (),
    report: ProgressListener = lambda _progress: None,
    scores: AllocationScores | None = None,
    *,
    digests: Digests | None = None,
    checkpoints: Checkpoints | None = None,
    tokens: Tokens = "all",
) -> PruningReport:
    """Prune the adapter's model in place.

    The model's training mode comes back as it was and no hook stays, whatever happens; after an
    exception the blocks pruned so far stay pruned.

    Args:
        adapter: the model.
        recipe: what to do.
        batches: calibration inputs from `adapter.batches`; empty where the recipe reads no data.
        report: told after every block; what it raises ends the run.
        scores: measured before; where the allocation needs some, they are not measured again.
        digests: what a pass over the dense model found in another run, or is to be kept of it.
        checkpoints: what an earlier run with the very same arguments has finished, on the dense
            model again; the result is the same bit by bit.
        tokens: those that statistics of inputs see; see `calibration.tokens`.

    Raises:
        RecipeError: the recipe does not fit the model.
        AllocationScoreError: a matrix has no usable score; the message names it.
        CalibrationDataError: the recipe reads data and there is none.
        NonFiniteError: a weight, an activation or a score is NaN or infinite; the message names it.
    """
    kept = checkpoints or NoCheckpoints()
    if tokens != "all":
        check_streams(tokens, adapter.model.config, batches)
    notes = check_patterns(adapter.model, adapter.towers, recipe)
    notes += [
        f"{tower.name}: left dense, no calibration input reaches it; name it in targets, or give "
        f"{tower.modality} a sparsity of its own, to prune it by magnitude."
        for tower in unfed(adapter.towers, recipe, batches)
    ]
    targets, criterion = checked(adapter, recipe, batches, kept)
    if batches and any(tower.guessed for tower in adapter.towers):
        with torch.no_grad(), evaluating(adapter.model):
            notes += disagreements(adapter, batches[0])
    coverage = coverage_of(adapter, recipe, targets)
    first = [coverage.warning] if coverage.warning else []
    builder = ReportBuilder(recipe, targets, report, (*first, *adapter.warnings, *notes), coverage)
    with torch.no_grad(), evaluating(adapter.model):
        if recipe.allocation.scoring is not None and scores is None:
            scores = _measure(adapter, recipe, batches, targets, builder=builder, checkpoints=kept)
        for number, each in enumerate(recipe.stages()):
            stage = Stage(
                *(adapter, each, batches, targets, criterion, builder, str(number), kept, tokens)
            )
            _carry_out(stage, scores, digests or Digests())
    return builder.close()


def checked(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch],
    checkpoints: Checkpoints | None = None,
) -> tuple[Targets, Criterion]:
    """What to prune, by which criterion; raises as `prune` does."""
    targets = find_targets(adapter.towers, recipe, batches)
    criterion = find_criterion(recipe)
    needing = [recipe.importance.kind] if recipe.importance.needs_data else []
    needing += [recipe.reconstruction.kind] if recipe.solves else []
    needing += ["recovery"] if recipe.recovery is not None else []
    if not batches and needing:
        raise CalibrationDataError(f"{needing[0]} needs calibration data")
    kept = checkpoints or NoCheckpoints()
    if kept.get("finite") is None:
        for matrix in targets.blocks:
            _check_finite(matrix)
            adapter.memory.release()
        kept.put("finite", Entry())
    return targets, criterion


def _carry_out(stage: Stage, scores: AllocationScores | None, digests: Digests) -> None:
    """Measure and prune once."""
    recipe, targets, builder = stage.recipe, stage.targets, stage.builder
    ranks = digests.ranks(targets, recipe.importance, stage.criterion, builder)
    if ranks is None:
        ranks = _ranked(stage)
        digests.keep(ranks)
    carry_out = _SCHEDULES[recipe.schedule]
    carry_out(stage, ranks, _selections(stage, ranks, scores))


def _ranked(stage: Stage) -> dict[Matrix, Rank]:
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
        lambda done: stage.walk("dense", done),
        stage.calibration,
        targets,
        criterion,
        builder=builder,
        checkpoints=checkpoints,
    )


def _counted(stage: Stage, ranks: Mapping[Matrix, Rank]) -> dict[Matrix, int]:
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


def _selections(
    stage: Stage, ranks: Mapping[Matrix, Rank], scores: AllocationScores | None
) -> Mapping[Matrix, Selection]:
    """How many weights each matrix loses, and in which pattern."""
    recipe = stage.recipe
    if recipe.allocation.scoring is None or scores is None:
        counts = _counted(stage, ranks)
        return {matrix: Selection(recipe.pattern, count) for matrix, count in counts.items()}
    shared = share_out(recipe, stage.targets.blocks, stage.adapter.towers, scores)
    stage.builder.share_out(shared.report, shared.warnings)
    return shared.selections


def _measure(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch],
    targets: Targets,
    *,
    builder: ReportBuilder,
    checkpoints: Checkpoints,
) -> AllocationScores:
    """Score the matrices on the first batches that hold the samples asked for."""
    settings = recipe.allocation.scoring
    if settings is None:
        raise TypeError(f"{recipe.allocation.kind} scores nothing")
    if settings.kind == "reused":
        raise AllocationScoreError(f"the scores of job {settings.job} were not given")
    chosen = first_holding(batches, settings.samples)
    return measure(
        adapter,
        settings,
        enumerate(chosen),
        list(targets.blocks),
        seed=recipe.seed,
        tick=lambda index, matrix: builder.measured(index, len(chosen), matrix),
        checkpoints=checkpoints,
    )


def _block_after_block(
    stage: Stage, ranks: Mapping[Matrix, Rank], selections: Mapping[Matrix, Selection]
) -> None:
    """Choose as the importance does, then solve for what stays where that is asked."""
    settings, criterion = stage.recipe.reconstruction, stage.criterion
    sequential = stage.recipe.importance.schedule == "sequential"
    solver = LeastSquaresSolver(settings) if isinstance(settings, LeastSquares) else None
    statistic = Hessian if solver is not None else criterion.statistic or SquareSum

    def choose(matrix: Matrix, weight: torch.Tensor, found: Statistic) -> Outcome:
        if not sequential:
            rank = ranks[matrix]
            return rank.criterion.drop(weight, rank.digest, selections[matrix])
        if isinstance(found, Hessian) and criterion.statistic is not Hessian:
            found = squares_of(found)
        return criterion.prune(weight, found, selections[matrix])

    def prune_one(matrix: Matrix, weight: torch.Tensor, found: Statistic) -> Outcome:
        if solver is None or not isinstance(found, Hessian):
            return choose(matrix, weight, found)
        target, dense_share, damping = solver.target(weight, found)
        chosen = choose(matrix, weight, found)
        solution = solver.solve(weight, target, chosen.mask, found)
        return replace(
            chosen,
            error=solution.error,
            relative_error=solution.relative,
            dense_share=dense_share,
            target_damping=damping,
        )

    block_by_block(stage, selections, statistic, prune_one)


def _at_once(
    stage: Stage, ranks: Mapping[Matrix, Rank], selections: Mapping[Matrix, Selection]
) -> None:
    """Prune every matrix on what the dense model told."""
    checkpoints = stage.block_checkpoints("pruned")
    done = checkpoints.blocks(partial(apply_again, stage))
    for block, due in stage.targets.due.items():
        if block in done:
            continue
        with checkpoints.finishing(block) as changes:
            for matrix in due:
                selection, rank, weight = selections[matrix], ranks[matrix], matrix.fetch()
                with naming(matrix):
                    outcome = rank.criterion.drop(weight, rank.digest, selection)
                matrix.put_back(weight)
                stage.builder.enter(matrix, selection.count, outcome)
                changes[matrix.name] = change(stage.recipe, matrix, outcome)
                stage.adapter.memory.release()
        stage.builder.progress("pruning", block)


def _solved(
    stage: Stage, ranks: Mapping[Matrix, Rank], selections: Mapping[Matrix, Selection]
) -> None:
    """Solve block by block on gradients of the model as it is; then put the weights in place."""
    backward = Backward(stage.adapter, stage.batches, lambda _done, _total: None)
    memory, solved = stage.adapter.memory, dict[Matrix, tuple[torch.Tensor, Outcome]]()
    for block, due in stage.targets.due.items():
        rows = backward.rows(due)
        for matrix in due:
            digest, selection = ranks[matrix].digest, selections[matrix]
            with naming(matrix):
                weight, outcome = stage.criterion.solve(
                    matrix.fetch(), rows.pop(matrix), digest, selection
                )
            bits = memory.keep(outcome.mask)
            solved[matrix] = memory.keep(weight), replace(outcome, mask=bits)
        stage.builder.progress("pruning", block)
    for matrix, (weight, outcome) in solved.items():
        matrix.weight.copy_(weight)
        stage.builder.enter(matrix, selections[matrix].count, outcome)
        stage.adapter.memory.release()


_SCHEDULES = {"one-shot": _at_once, "sequential": _block_after_block, "joint": _solved}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; every module's own mode comes back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _check_finite(matrix: Matrix) -> None:
    # A sum is finite only if every term is, and is several times cheaper than isfinite().all().
    weight = matrix.fetch()
    if not torch.isfinite(weight.sum(dtype=torch.float32)) and not bool(
        torch.isfinite(weight).all()
    ):
        raise NonFiniteError(f"{matrix.name} holds NaN or infinite weights")
