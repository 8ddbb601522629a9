"""Budgets by score: cap, floor, total to the weight, scale."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AllocationScoreError, RecipeError
from workers.pruning.allocation.ecoflap.water_filling import Group, decimal, keep_counts

SCORES = st.floats(1e-12, 1e12, allow_nan=False)
HUNDREDTHS = st.integers(0, 100)


@st.composite
def problems(draw):
    """Groups, a budget and a cap as a job would have them."""
    sizes = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=12))
    scores = draw(st.lists(SCORES, min_size=len(sizes), max_size=len(sizes)))
    target = draw(st.integers(0, 99))
    cap = draw(st.integers(target, 100)) / 100
    groups = [Group(f"g{i}", n, s) for i, (n, s) in enumerate(zip(sizes, scores, strict=True))]
    keep = math.floor(sum(sizes) * (1 - Fraction(target, 100)))
    return groups, keep, cap


@given(problems())
def test_total_floor_and_ceiling(problem):
    groups, keep, cap = problem
    kept = keep_counts(groups, keep, cap)
    assert sum(kept) == keep
    floors = [group.weights * (1 - decimal(cap)) for group in groups]
    if sum(map(math.ceil, floors)) <= keep:
        assert all(k >= f for k, f in zip(kept, floors, strict=True)), "the cap holds exactly"
    assert all(k > f - 1 for k, f in zip(kept, floors, strict=True))
    assert all(0 <= k <= group.weights for k, group in zip(kept, groups, strict=True))


@given(problems(), st.integers(-20, 20))
def test_only_ratios_of_scores_matter(problem, exponent):
    groups, keep, cap = problem
    scaled = [Group(g.name, g.weights, g.score * 2.0**exponent) for g in groups]
    assert keep_counts(scaled, keep, cap) == keep_counts(groups, keep, cap)


@given(problems())
def test_a_higher_score_never_keeps_fewer(problem):
    groups, keep, cap = problem
    same = [Group(g.name, groups[0].weights, g.score) for g in groups]
    budget = keep * groups[0].weights * len(groups) // sum(g.weights for g in groups)
    kept = keep_counts(
        same, max(budget, math.ceil(sum(g.weights * (1 - decimal(cap)) for g in same))), cap
    )
    order = sorted(range(len(same)), key=lambda i: same[i].score)
    assert all(kept[a] <= kept[b] + 1 for a, b in pairwise(order))


@pytest.mark.parametrize(
    ("scores", "sizes", "keep", "cap", "sparsities"),
    [
        ([1, 2, 3, 4], [1000] * 4, 2000, 0.6, [0.56, 0.52, 0.48, 0.44]),
        ([100, 1, 1, 1], [1000] * 4, 2000, 0.8, [0, 0.667, 0.667, 0.666]),
        ([1, 2, 3, 4], [1000] * 4, 2000, 0.5, [0.5] * 4),
        ([1, 1], [1000, 9000], 5000, 0.6, [0.1, 0.5444]),
        ([7], [1000], 500, 0.6, [0.5]),
        ([1, 2], [10, 10], 20, 0.1, [0, 0]),
    ],
)
def test_worked_cases(scores, sizes, keep, cap, sparsities):
    groups = [Group(str(i), n, s) for i, (n, s) in enumerate(zip(sizes, scores, strict=True))]
    kept = keep_counts(groups, keep, cap)
    for group, count, expected in zip(groups, kept, sparsities, strict=True):
        assert 1 - count / group.weights == pytest.approx(expected, abs=1.5 / min(sizes))


@pytest.mark.parametrize("score", [0.0, -1.0, math.nan, math.inf])
def test_unusable_scores_are_refused_by_name(score):
    groups = [Group("model.layers.0", 10, 1.0), Group("model.layers.7", 10, score)]
    with pytest.raises(AllocationScoreError, match=r"model\.layers\.7"):
        keep_counts(groups, 10, 0.6)


@pytest.mark.parametrize(("keep", "cap"), [(7, 0.6), (21, 0.6)])
def test_budgets_out_of_reach_are_refused(keep, cap):
    with pytest.raises(RecipeError, match="cannot be kept"):
        keep_counts(
            [Group("a", 10, 1.0), Group("b", 10, 2.0)], keep - 1 if keep == 7 else keep, cap
        )
