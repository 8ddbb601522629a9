"""How many weights a share of them is, in exact rationals: rounding that no float can move.

A sparsity is the decimal number that was written: 0.29 of 100 weights is 29, where the binary
float next to 0.29 would give 28.
"""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

from app.domain.recipe import NM, ECoFLaP, Modality, Pooled, Recipe

MODEL = "model"


def decimal(value: float) -> Fraction:
    """The decimal number written: 0.1 is one tenth."""
    return Fraction(repr(float(value)))


def share(count: int, sparsity: float) -> int:
    """floor(s N): weights that go out of N. Ours, and MULTIFLOW's (arXiv 2404.05621)."""
    return int(decimal(sparsity) * count)


def share_by_keeping(count: int, sparsity: float) -> int:
    """N - floor(N (1 - s)): weights that go where what stays is rounded down.

    ECoFLaP's rounding (arXiv 2310.02998), one weight above `share` where s N is no whole number.
    """
    return count - int((1 - decimal(sparsity)) * count)


def share_by_row(rows: int, columns: int, sparsity: float) -> int:
    """Rows times floor(s columns): every row rounded down by itself.

    The rounding of Wanda's official code (arXiv 2306.11695); it falls short of `share` by up to
    one weight a row.
    """
    return rows * share(columns, sparsity)


def scope_of(recipe: Recipe, modality: Modality) -> str:
    """Which matrices reach one total together: those of `model`, or of each modality.

    Each modality has its own where the recipe gives it a sparsity, a pool or a budget of its own.
    """
    match recipe.allocation:
        case Pooled(pool=pool):
            own = pool == "modality"
        case ECoFLaP(budget=budget):
            own = budget == "modality"
        case _:
            own = isinstance(recipe.sparsity, dict)
    return modality.value if own else MODEL


def total(recipe: Recipe, weights: int, sparsity: float) -> int:
    """Weights of a scope that are to be zero.

    floor(s N); ECoFLaP may be told to round what stays down, as its paper does, and an n:m pattern
    fixes it.
    """
    if isinstance(recipe.pattern, NM):
        return weights // recipe.pattern.m * (recipe.pattern.m - recipe.pattern.n)
    allocation = recipe.allocation
    keeping = isinstance(allocation, ECoFLaP) and allocation.rounding == "paper"
    return (share_by_keeping if keeping else share)(weights, sparsity)


def total_of(recipe: Recipe, weights: Mapping[Modality, int]) -> int:
    """Weights of a model that are to be zero, given those in its matrices by modality."""
    scopes: Counter[tuple[str, float]] = Counter()
    for modality, count in weights.items():
        if sparsity := recipe.sparsity_of(modality):
            scopes[scope_of(recipe, modality), sparsity] += count
    return sum(total(recipe, count, sparsity) for (_, sparsity), count in scopes.items())
