"""Carry a recipe out on a model in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from app.domain.allocation_scores import AllocationScores
from app.domain.errors import AllocationScoreError, CalibrationDataError, NonFiniteError
from app.domain.recipe import ECoFLaP, Pooled, Recipe, Reused
from app.domain.report import PruningReport
from workers.pruning.allocation import allocate
from workers.pruning.allocation.ecoflap import measure, share_out
from workers.pruning.backward import Backward
from workers.pruning.calibration import Calibration
from workers.pruning.digests import Digests
from workers.pruning.importance import find_criterion
from workers.pruning.importance.chita import ChitaCriterion
from workers.pruning.importance.criterion import Criterion, Outcome
from workers.pruning.importance.gradient import GradientCriterion
from workers.pruning.importance.magnitude import MagnitudeCriterion
from workers.pruning.kth import Scores
from workers.pruning.ledger import Ledger
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.replay import Batch
from workers.pruning.models.structure import Matrix
from workers.pruning.progress import Report
from workers.pruning.selection import Selection
from workers.pruning.sequential import Step, samples_of, steps
from workers.pruning.survey import Rank, by_magnitude, survey, survey_gradients
from workers.pruning.targets import Targets, find_targets


def prune(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch] = (),
    report: Report = lambda _progress: None,
    scores: AllocationScores | None = None,
    *,
    digests: Digests | None = None,
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

    Raises:
        RecipeError: the recipe does not fit the model.
        AllocationScoreError: a matrix has no usable score; the message names it.
        CalibrationDataError: the recipe reads data and there is none.
        NonFiniteError: a weight, an activation or a score is NaN or infinite; the message names it.
    """
    targets, criterion = checked(adapter, recipe, batches)
    ledger = Ledger(recipe, targets, report, adapter.warnings)
    with torch.no_grad(), evaluating(adapter.model):
        if isinstance(recipe.allocation, ECoFLaP) and scores is None:
            scores = _measure(
                adapter, recipe.allocation, batches, targets, seed=recipe.seed, ledger=ledger
            )
        for stage in recipe.stages():
            _stage(
                adapter,
                stage,
                batches,
                targets=targets,
                criterion=criterion,
                scores=scores,
                digests=digests or Digests(),
                ledger=ledger,
            )
    return ledger.close()


def checked(
    adapter: Adapter, recipe: Recipe, batches: Sequence[Batch]
) -> tuple[Targets, Criterion]:
    """What to prune, by which criterion; raises as `prune` does."""
    targets = find_targets(adapter.towers, recipe)
    criterion = find_criterion(recipe)
    if not batches and (criterion.statistic or isinstance(criterion, GradientCriterion)):
        raise CalibrationDataError(f"{recipe.importance.kind} needs calibration data")
    for matrix in targets.blocks:
        _check_finite(matrix)
        adapter.memory.release()
    return targets, criterion


def ranked(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch],
    *,
    targets: Targets,
    criterion: Criterion,
    ledger: Ledger,
) -> dict[Matrix, Rank]:
    """What ranks the weights of the model as it is; magnitude where the choice is made later."""
    if isinstance(criterion, GradientCriterion):
        backward = Backward(adapter, batches, ledger.batch)
        return survey_gradients(backward, recipe, targets, criterion, ledger)
    if criterion.sequential and not _pools_by_importance(recipe):
        return by_magnitude(targets)
    return survey(steps(adapter, batches, last=targets.last), targets, criterion, ledger)


def counted(
    adapter: Adapter, recipe: Recipe, targets: Targets, ranks: Mapping[Matrix, Rank]
) -> dict[Matrix, int]:
    """How many weights each matrix loses."""
    ranking = ranks if _pools_by_importance(recipe) else by_magnitude(targets)

    def scored(rank: Rank) -> Scores:
        def scores() -> torch.Tensor:
            adapter.memory.release()
            return rank()

        return scores

    return allocate(recipe, {matrix: scored(rank) for matrix, rank in ranking.items()})


def _stage(
    adapter: Adapter,
    recipe: Recipe,
    batches: Sequence[Batch],
    *,
    targets: Targets,
    criterion: Criterion,
    scores: AllocationScores | None,
    digests: Digests,
    ledger: Ledger,
) -> None:
    """Measure and prune once."""
    ranks = digests.ranks(targets, criterion, ledger)
    if ranks is None:
        ranks = ranked(
            adapter, recipe, batches, targets=targets, criterion=criterion, ledger=ledger
        )
        digests.keep(ranks)
    if isinstance(recipe.allocation, ECoFLaP) and scores is not None:
        shared = share_out(recipe, recipe.allocation, targets.blocks, adapter.towers, scores)
        ledger.share_out(shared.report, shared.warnings)
        selections = shared.selections
    else:
        counts = counted(adapter, recipe, targets, ranks)
        selections = {m: Selection(recipe.pattern, count) for m, count in counts.items()}
    if criterion.sequential:
        walk = steps(adapter, batches, last=targets.last)
        _sequentially(walk, targets, criterion, selections, ledger)
    elif isinstance(criterion, ChitaCriterion):
        backward = Backward(adapter, batches, lambda _done, _total: None)
        _solved(backward, targets, criterion, ranks=ranks, selections=selections, ledger=ledger)
    else:
        _at_once(adapter, targets, ranks=ranks, selections=selections, ledger=ledger)


def _measure(
    adapter: Adapter,
    allocation: ECoFLaP,
    batches: Sequence[Batch],
    targets: Targets,
    *,
    seed: int,
    ledger: Ledger,
) -> AllocationScores:
    """Score the matrices on the first batches that hold the samples asked for."""
    settings = allocation.scores
    if isinstance(settings, Reused):
        raise AllocationScoreError(f"the scores of job {settings.job} were not given")
    chosen: list[Batch] = []
    found = 0
    for batch in batches:
        if found >= settings.samples:
            break
        chosen.append(batch)
        found += samples_of(batch)
    return measure(
        adapter,
        settings,
        enumerate(chosen),
        list(targets.blocks),
        seed=seed,
        tick=lambda index, matrix: ledger.measured(index, len(chosen), matrix),
    )


def _pools_by_importance(recipe: Recipe) -> bool:
    return isinstance(recipe.allocation, Pooled) and recipe.allocation.by == "importance"


def _sequentially(
    walk: Iterable[Step],
    targets: Targets,
    criterion: Criterion,
    selections: Mapping[Matrix, Selection],
    ledger: Ledger,
) -> None:
    """Prune each block on what the pruned blocks before it hand over."""
    if criterion.statistic is None:
        raise TypeError(f"{type(criterion).__name__} is sequential but watches nothing")
    calibration = Calibration(criterion.statistic)
    for step in walk:
        step.collect(calibration, targets.blocks)
        due = targets.due.get(step.block, ())
        for matrix in due:
            selection = selections[matrix]
            statistic = calibration.of(matrix)
            if statistic is None:
                ledger.unseen(matrix)
                outcome = MagnitudeCriterion().drop(matrix.weight, None, selection)
            else:
                outcome = criterion.prune(matrix.weight, statistic, selection)
            ledger.enter(matrix, selection.count, outcome)
        calibration.forget(due)
        ledger.progress("pruning", step.block)


def _at_once(
    adapter: Adapter,
    targets: Targets,
    *,
    ranks: Mapping[Matrix, Rank],
    selections: Mapping[Matrix, Selection],
    ledger: Ledger,
) -> None:
    """Prune every matrix on what the dense model told."""
    for block, due in targets.due.items():
        for matrix in due:
            selection, rank = selections[matrix], ranks[matrix]
            outcome = rank.criterion.drop(matrix.weight, rank.digest, selection)
            ledger.enter(matrix, selection.count, outcome)
            adapter.memory.release()
        ledger.progress("pruning", block)


def _solved(
    backward: Backward,
    targets: Targets,
    criterion: ChitaCriterion,
    *,
    ranks: Mapping[Matrix, Rank],
    selections: Mapping[Matrix, Selection],
    ledger: Ledger,
) -> None:
    """Solve block by block on gradients of the model as it is; then put the weights in place."""
    solved: dict[Matrix, tuple[torch.Tensor, Outcome]] = {}
    for block, due in targets.due.items():
        rows = backward.rows(due)
        for matrix in due:
            digest, selection = ranks[matrix].digest, selections[matrix]
            solved[matrix] = criterion.solve(matrix.weight, rows.pop(matrix), digest, selection)
        ledger.progress("pruning", block)
    for matrix, (weight, outcome) in solved.items():
        matrix.weight.copy_(weight)
        ledger.enter(matrix, selections[matrix].count, outcome)


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
    if not torch.isfinite(matrix.weight.sum(dtype=torch.float32)) and not bool(
        torch.isfinite(matrix.weight).all()
    ):
        raise NonFiniteError(f"{matrix.name} holds NaN or infinite weights")
