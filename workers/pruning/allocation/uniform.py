"""The same sparsity for every matrix."""

from collections.abc import Sequence

from app.errors import RecipeError
from app.recipes.budgets import decimal
from app.recipes.recipe import NM, Recipe, Uniform
from workers.pruning.allocation.scopes import Scope, scopes
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.selection import budget


def uniform(recipe: Recipe, allocation: Uniform, matrices: Sequence[Matrix]) -> dict[Matrix, int]:
    """Weights that each matrix loses: sparsity x weights, rounded so that the total is exact.

    Raises:
        RecipeError: an n:m pattern does not divide a matrix; it is named.
    """
    if isinstance(recipe.pattern, NM) or allocation.rounding == "paper":
        return {matrix: _alone(recipe, matrix) for matrix in matrices}
    counts: dict[Matrix, int] = {}
    for scope in scopes(recipe, matrices):
        counts |= _spread(scope)
    return {matrix: counts[matrix] for matrix in matrices}


def _spread(scope: Scope) -> dict[Matrix, int]:
    """The scope's count by largest remainder, the first matrix among equals.

    Every matrix is within one weight of its exact share.
    """
    exact = {matrix: decimal(scope.sparsity) * matrix.numel for matrix in scope.matrices}
    counts = {matrix: int(value) for matrix, value in exact.items()}
    missing = scope.count - sum(counts.values())
    largest = sorted(scope.matrices, key=lambda matrix: counts[matrix] - exact[matrix])
    return counts | {matrix: counts[matrix] + 1 for matrix in largest[:missing]}


def _alone(recipe: Recipe, matrix: Matrix) -> int:
    rows, columns = matrix.weight.shape
    try:
        return budget((rows, columns), recipe.sparsity_of(matrix.modality), recipe.pattern)
    except RecipeError as error:
        raise RecipeError(f"{matrix.name}: {error}") from error
