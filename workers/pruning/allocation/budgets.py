"""How many weights each matrix loses: the same share everywhere, or one threshold for a pool."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.errors import RecipeError
from app.recipes.allocation import ECoFLaP, Pooled, Uniform
from app.recipes.budgets import decimal, scope_of, total
from app.recipes.pattern import NM
from app.recipes.recipe import Recipe
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.kth import MakeScores, pool_counts
from workers.pruning.selection.selection import budget


def allocate(recipe: Recipe, scores: Mapping[Matrix, MakeScores]) -> dict[Matrix, int]:
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


@dataclass(frozen=True, slots=True)
class Scope:
    """Matrices that reach one total together.

    Attributes:
        name: `model`, or the modality.
        matrices: in the order they were given.
        sparsity: of the recipe; what an n:m pattern means.
        count: weights that are to be zero.
    """

    name: str
    matrices: tuple[Matrix, ...]
    sparsity: float
    count: int


def scopes(recipe: Recipe, matrices: Iterable[Matrix]) -> list[Scope]:
    """One for the model; one for each modality where the recipe gives each a target or a pool."""
    members: dict[str, list[Matrix]] = defaultdict(list)
    for matrix in matrices:
        members[scope_of(recipe, matrix.modality)].append(matrix)
    return [_scope(recipe, name, tuple(found)) for name, found in members.items()]


def _scope(recipe: Recipe, name: str, matrices: tuple[Matrix, ...]) -> Scope:
    weights = sum(matrix.numel for matrix in matrices)
    sparsity = recipe.sparsity_of(matrices[0].modality)
    if isinstance(recipe.pattern, NM):
        sparsity = 1 - recipe.pattern.n / recipe.pattern.m
    return Scope(name, matrices, sparsity, total(recipe, weights, sparsity))


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


def pooled(recipe: Recipe, scores: Mapping[Matrix, MakeScores]) -> dict[Matrix, int]:
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
