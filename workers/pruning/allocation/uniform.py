"""The same sparsity for every matrix."""

from collections.abc import Iterable

from app.domain.errors import RecipeError
from app.domain.recipe import Recipe
from workers.pruning.models.structure import Matrix
from workers.pruning.selection import budget


def uniform(recipe: Recipe, matrices: Iterable[Matrix]) -> dict[Matrix, int]:
    """floor(sparsity * weights) of each matrix, or of each of its rows where rows are compared.

    Raises:
        RecipeError: an n:m pattern does not divide a matrix; it is named.
    """
    counts = {}
    for matrix in matrices:
        rows, columns = matrix.weight.shape
        try:
            counts[matrix] = budget(
                (rows, columns), recipe.sparsity_of(matrix.modality), recipe.pattern
            )
        except RecipeError as error:
            raise RecipeError(f"{matrix.name}: {error}") from error
    return counts
