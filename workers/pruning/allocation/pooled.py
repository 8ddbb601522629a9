"""One threshold for a pool of matrices: the pool ends at the target, the matrices differ."""

from collections.abc import Mapping

from app.recipes.recipe import Recipe
from workers.pruning.allocation.scopes import scopes
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.kth import Scores, pool_counts


def pooled(recipe: Recipe, scores: Mapping[Matrix, Scores]) -> dict[Matrix, int]:
    """How many of each pool's floor(sparsity * weights) smallest scores lie in each matrix.

    Raises:
        NonFiniteError: a score is NaN or infinite; its matrix is named.
    """
    counts: dict[Matrix, int] = {}
    for scope in scopes(recipe, scores):
        members = scope.matrices
        names = [matrix.name for matrix in members]
        found = pool_counts([scores[matrix] for matrix in members], scope.count, names)
        counts |= dict(zip(members, found, strict=True))
    return counts
