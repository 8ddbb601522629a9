"""Shares are exact, whatever the float next to the decimal number is."""

from decimal import Decimal
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.allocation import ECoFLaP, Pooled
from app.recipes.budgets import share, share_by_keeping, share_by_row, total_of
from app.recipes.modality import Modality
from app.recipes.pattern import NM
from app.recipes.recipe import Recipe

DECIMALS = st.integers(1, 9999).map(lambda n: Decimal(n) / 10000)


@given(st.integers(1, 10**10), DECIMALS)
def test_shares_are_those_of_the_decimal_number(count, sparsity):
    assert share(count, float(sparsity)) == floor(count * sparsity)
    assert share_by_keeping(count, float(sparsity)) == count - floor(count * (1 - sparsity))


@given(st.integers(1, 500), st.integers(1, 500), DECIMALS)
def test_rounding_every_row_falls_short_by_less_than_a_weight_a_row(rows, columns, sparsity):
    gap = share(rows * columns, float(sparsity)) - share_by_row(rows, columns, float(sparsity))
    assert 0 <= gap < rows


WEIGHTS = {Modality.VISION: 1001, Modality.LANGUAGE: 503}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"sparsity": 0.3}, floor(Decimal("0.3") * 1504)),
        ({"sparsity": {"vision": 0.3}}, 300),
        ({"sparsity": {"vision": 0.3, "language": 0}}, 300),
        ({"sparsity": {"vision": 0.3, "language": 0.3}}, 300 + 150),
        ({"sparsity": 0.3, "allocation": Pooled(pool="modality")}, 300 + 150),
        ({"sparsity": 0.3, "allocation": ECoFLaP()}, 1504 - floor(Decimal("0.7") * 1504)),
        ({"sparsity": 0.3, "allocation": ECoFLaP(budget="modality")}, 1504 - 700 - 352),
        ({"sparsity": 0.5, "pattern": NM(n=2, m=4)}, 1504 // 2),
    ],
)
def test_totals_by_what_the_recipe_names(recipe, expected):
    assert total_of(Recipe(**recipe), WEIGHTS) == expected
