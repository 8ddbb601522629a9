"""Shares are exact, whatever the float next to the decimal number is."""

from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.budgets import (
    decimal,
    scope_of,
    share,
    share_by_keeping,
    share_by_row,
    total,
    total_of,
)
from app.domain.recipe import NM, ECoFLaP, Modality, Pooled, Recipe

DECIMALS = st.integers(1, 9999).map(lambda n: Decimal(n) / 10000)


@given(st.integers(1, 10**10), DECIMALS)
def test_shares_are_those_of_the_decimal_number(count, sparsity):
    assert share(count, float(sparsity)) == floor(count * sparsity)
    assert share_by_keeping(count, float(sparsity)) == count - floor(count * (1 - sparsity))


@given(st.integers(1, 500), st.integers(1, 500), DECIMALS)
def test_rounding_every_row_falls_short_by_less_than_a_weight_a_row(rows, columns, sparsity):
    gap = share(rows * columns, float(sparsity)) - share_by_row(rows, columns, float(sparsity))
    assert 0 <= gap < rows


PAPER = ECoFLaP(rounding="paper")
WEIGHTS = {Modality.VISION: 1001, Modality.LANGUAGE: 503}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"sparsity": 0.3}, floor(Decimal("0.3") * 1504)),
        ({"sparsity": {"vision": 0.3}}, 300),
        ({"sparsity": {"vision": 0.3, "language": 0}}, 300),
        ({"sparsity": {"vision": 0.3, "language": 0.3}}, 300 + 150),
        ({"sparsity": 0.3, "allocation": Pooled(pool="modality")}, 300 + 150),
        ({"sparsity": 0.3, "allocation": ECoFLaP()}, floor(Decimal("0.3") * 1504)),
        ({"sparsity": 0.3, "allocation": PAPER}, 1504 - floor(Decimal("0.7") * 1504)),
        ({"sparsity": 0.3, "allocation": ECoFLaP(budget="modality")}, 300 + 150),
        ({"sparsity": 0.5, "pattern": NM(n=2, m=4)}, 1504 // 2),
    ],
)
def test_totals_by_what_the_recipe_names(recipe, expected):
    assert total_of(Recipe(**recipe), WEIGHTS) == expected


@pytest.mark.parametrize(
    ("recipe", "weights", "expected"),
    [
        ({"sparsity": 0.75, "pattern": NM(n=1, m=4)}, {Modality.VISION: 103}, 75),
        ({"sparsity": 0.25, "pattern": NM(n=3, m=4)}, {Modality.VISION: 100}, 25),
        ({"sparsity": {"vision": 0.0}}, {Modality.VISION: 100}, 0),
        ({"sparsity": 0.5}, {}, 0),
    ],
)
def test_totals_of_patterns_and_of_nothing(recipe, weights, expected):
    assert total_of(Recipe(**recipe), weights) == expected


@pytest.mark.parametrize(
    ("recipe", "own"),
    [
        ({"sparsity": 0.3}, False),
        ({"sparsity": {"vision": 0.3}}, True),
        ({"sparsity": 0.3, "allocation": Pooled()}, False),
        ({"sparsity": 0.3, "allocation": Pooled(pool="modality")}, True),
        ({"sparsity": 0.3, "allocation": ECoFLaP()}, False),
        ({"sparsity": 0.3, "allocation": ECoFLaP(budget="modality")}, True),
    ],
)
def test_which_matrices_reach_a_total_together(recipe, own):
    assert scope_of(Recipe(**recipe), Modality.VISION) == ("vision" if own else "model")


def test_roundings_of_one_share():
    assert decimal(0.1) == Fraction(1, 10)
    assert (share(103, 0.29), share_by_keeping(103, 0.29)) == (29, 30)
    assert share_by_row(10, 13, 0.29) == 30
    recipe = Recipe(sparsity=0.29)
    assert total(recipe, 103, 0.29) == 29
    assert total(Recipe(sparsity=0.29, allocation=ECoFLaP()), 103, 0.29) == 29
    paper = ECoFLaP(rounding="paper")
    assert total(Recipe(sparsity=0.29, allocation=paper), 103, 0.29) == 30
