"""Several target sparsities from one calibration pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from app.domain.errors import RecipeError
from app.domain.recipe import NM, ECoFLaP, Pattern, Recipe
from app.domain.report import PruningReport
from workers.pruning.importance.chita import ChitaCriterion
from workers.pruning.importance.criterion import Outcome, naming, outcome
from workers.pruning.keep_sparse import pack, unpack
from workers.pruning.ledger import Ledger
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.replay import Batch
from workers.pruning.models.structure import Matrix
from workers.pruning.progress import Report
from workers.pruning.prune import checked, evaluating
from workers.pruning.selection import Selection, zero
from workers.pruning.stage import Stage, counted, ranked
from workers.pruning.survey import Rank


def sweep(
    adapter: Adapter,
    recipe: Recipe,
    sparsities: Iterable[float],
    batches: Sequence[Batch] = (),
    report: Report = lambda _progress: None,
) -> Iterator[PruningReport]:
    """Prune the model to one sparsity after the other, in ascending order.

    While an item is handed out, the model is what `prune` would have made of the dense one at that
    sparsity: all choices are made on dense weights and kept as bits until their turn comes. Each
    contains the one before it, so nothing has to be put back.

    Args:
        adapter: the model, dense.
        recipe: what to do; its own sparsity is not used.
        sparsities: targets for all modalities.
        batches: calibration inputs, as for `prune`.
        report: told after every block; what it raises ends the run.

    Raises:
        RecipeError: the recipe looks at pruned weights or at gradients, or has a pattern that
            fixes its sparsity; otherwise as `prune`.
    """
    asked = sorted(set(sparsities))
    if not asked or asked[0] <= 0 or asked[-1] >= 1:
        raise RecipeError("a sweep needs sparsities above 0 and below 1")
    if isinstance(recipe.pattern, NM):
        raise RecipeError("an n:m pattern fixes sparsity, so there is nothing to sweep")
    if isinstance(recipe.allocation, ECoFLaP):
        raise RecipeError("ecoflap shares out anew for every sparsity; prune to each on its own")
    recipes = [recipe.model_copy(update={"sparsity": each}) for each in asked]
    targets, criterion = checked(adapter, recipes[0], batches)
    if criterion.sequential or isinstance(criterion, ChitaCriterion) or len(recipe.stages()) > 1:
        kind = recipe.importance.kind
        raise RecipeError(f"{kind} measures anew for every sparsity; prune to each on its own")
    survey = Ledger(recipes[0], targets, report, adapter.warnings)
    with torch.no_grad(), evaluating(adapter.model):
        stages = [Stage(adapter, each, batches, targets, criterion, survey) for each in recipes]
        ranks = ranked(stages[0])
        counts = [counted(stage, ranks) for stage in stages]
        choices = {
            matrix: _choices(matrix, rank, recipe.pattern, counts) for matrix, rank in ranks.items()
        }
    for index, each in enumerate(recipes):
        ledger = Ledger(each, targets, report, survey.warnings)
        for block, due in targets.due.items():
            for matrix in due:
                chosen = choices[matrix][index]
                zero(matrix.weight, unpack(chosen.mask, list(matrix.weight.shape)))
                ledger.enter(matrix, counts[index][matrix], chosen)
                adapter.memory.release()
            ledger.progress("pruning", block)
        yield ledger.close()


def _choices(
    matrix: Matrix, rank: Rank, pattern: Pattern, counts: Iterable[Mapping[Matrix, int]]
) -> list[Outcome]:
    """What goes at every sparsity; masks as bits."""
    scores, made = rank(), []
    for count in counts:
        with naming(matrix):
            mask = Selection(pattern, count[matrix]).mask(scores)
        made.append(replace(outcome(scores.clone(), mask), mask=pack(mask)))
    return made
