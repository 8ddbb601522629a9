"""How much of each matrix goes."""

from collections.abc import Mapping

from app.recipes.recipe import ECoFLaP, Pooled, Recipe, Uniform
from workers.pruning.allocation.pooled import pooled
from workers.pruning.allocation.uniform import uniform
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.kth import Scores

__all__ = ["allocate"]


def allocate(recipe: Recipe, scores: Mapping[Matrix, Scores]) -> dict[Matrix, int]:
    """Number of weights each matrix loses.

    Args:
        recipe: the allocation, the pattern and the target.
        scores: the matrices, each with what ranks its weights in a pool.
    """
    match recipe.allocation:
        case Uniform():
            return uniform(recipe, recipe.allocation, list(scores))
        case Pooled():
            return pooled(recipe, scores)
        case ECoFLaP():
            raise TypeError("ecoflap shares out by measured scores: see `share_out`")
