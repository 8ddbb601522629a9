"""Bootstrap intervals against what is known of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.pipeline.evaluation.interval import Scores, compare, exponential

VALUES = st.lists(st.floats(0, 10), min_size=2, max_size=30)


def scores(values, weights=None, **options):
    values = np.array(values, dtype=float)
    return Scores(values, np.ones_like(values) if weights is None else np.array(weights), **options)


def test_the_width_is_that_of_the_normal_approximation():
    hits = np.random.default_rng(1).random(400) < 0.7
    found = compare(scores(hits), scores(hits), 0).before
    half = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 400)
    assert found.value == hits.mean()
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_pairing_narrows_the_difference():
    rng = np.random.default_rng(2)
    before = rng.normal(5, 3, 200)
    found = compare(scores(before), scores(before - 0.1 + rng.normal(0, 0.05, 200)), 0)
    assert found.change.low < -0.1 < found.change.high < 0
    assert found.before.high - found.before.low > 10 * (found.change.high - found.change.low)


def test_perplexity_weighs_by_tokens():
    found = compare(*[scores([1.0, 3.0], [30.0, 10.0], of=exponential)] * 2, 0)
    assert found.after.value == pytest.approx(np.exp(1.5))
    assert found.change.value == found.change.low == found.change.high == 0


def test_a_broken_model_has_a_huge_but_finite_perplexity():
    assert np.isfinite(scores([1e9, 1e9], of=exponential).value)


@given(VALUES, st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_mean_lies_in_the_range_of_its_values_and_repeats_with_its_seed(values, seed):
    found = compare(scores(values), scores(values[::-1]), seed)
    assert min(values) - 1e-9 <= found.before.low <= found.before.high <= max(values) + 1e-9
    assert found == compare(scores(values), scores(values[::-1]), seed)
    assert found.samples == len(values)


def test_the_interval_leaves_two_and_a_half_per_cent_on_either_side():
    """Of one record in ten: the share of resamples with so many of it is binomial."""
    values = [1.0] + [0.0] * 9
    found = compare(scores(values), scores(values), 7).before
    rng = np.random.default_rng(7)
    drawn = np.concatenate(
        [rng.multinomial(10, np.full(10, 0.1), size=100)[:, 0] / 10 for _ in range(20)]
    )
    assert (found.low, found.high) == tuple(np.percentile(drawn, [2.5, 97.5]))
    smooth = np.random.default_rng(3).normal(size=50)
    found = compare(scores(smooth), scores(smooth + 1), 11)
    rng = np.random.default_rng(11)
    drawn = np.concatenate(
        [rng.multinomial(50, np.full(50, 0.02), size=100) @ smooth / 50 for _ in range(20)]
    )
    assert found.before.low == pytest.approx(np.percentile(drawn, 2.5))
    assert found.before.high == pytest.approx(np.percentile(drawn, 97.5))
    assert found.after.low == pytest.approx(np.percentile(drawn, 2.5) + 1)
    assert found.change.value == pytest.approx(1)


def test_records_that_one_side_lacks_count_on_neither():
    before = scores([1.0, 5.0, 3.0], [1.0, 0.0, 1.0])
    after = scores([2.0, 9.0, 9.0], [1.0, 1.0, 0.0])
    found = compare(before, after, 0)
    assert (found.samples, found.before.value, found.after.value) == (1, 1.0, 2.0)
    assert found.change.value == 1.0


def test_a_perplexity_is_cut_at_exp_of_700():
    assert exponential(np.array([1.0])) == pytest.approx(np.e)
    assert exponential(np.array([1e9])) == np.exp(700.0)
