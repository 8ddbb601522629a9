"""Mixed n:m: whole levels, the total exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import RecipeError
from app.recipes.pattern import NM
from workers.pruning.allocation.ecoflap.levels import keep_levels
from workers.pruning.allocation.ecoflap.water_filling import Group


@st.composite
def problems(draw):
    m = draw(st.sampled_from([4, 8, 16]))
    n = draw(st.integers(2, m - 1))
    units = draw(st.lists(st.sampled_from([3, 5, 12]), min_size=1, max_size=10))
    groups = [Group(f"g{i}", unit * m, draw(st.floats(1e-3, 1e3))) for i, unit in enumerate(units)]
    return groups, NM(n=n, m=m), draw(st.integers(1 + 100 * (m - n) // m, 100)) / 100


@given(problems())
def test_total_and_bounds(problem):
    groups, pattern, cap = problem
    levels = keep_levels(groups, pattern, cap)
    total = sum(g.weights for g in groups)
    kept = sum(g.weights // pattern.m * level for g, level in zip(groups, levels, strict=True))
    assert kept == total // pattern.m * pattern.n
    assert all(pattern.kept_at(cap) <= level <= pattern.m for level in levels)


def test_blocks_that_matter_keep_more_of_each_group():
    groups = [Group(str(i), 400, score) for i, score in enumerate([1, 2, 3, 10])]
    assert keep_levels(groups, NM(n=2, m=4), 0.75) == [1, 2, 2, 3]


def test_no_exact_mix_is_refused_in_words():
    groups = [Group("a", 4 * 7, 1.0), Group("b", 4 * 9, 100.0)]
    pattern = NM(n=2, m=4)
    assert keep_levels(groups, pattern, 0.75) == [2, 2], "only uniform is exact"
    with pytest.raises(RecipeError, match="cannot be kept"):
        keep_levels(groups, pattern, 0.4)
