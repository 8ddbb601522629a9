"""The totals a recipe asks for: over which matrices, and how many of their weights."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from app.recipes.budgets import scope_of, total
from app.recipes.recipe import NM, Recipe
from workers.pruning.models.layout.structure import Matrix


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
