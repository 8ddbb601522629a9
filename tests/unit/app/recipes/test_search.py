"""Which sparsities a search tries, and what it makes of what it sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.evaluation import Estimate, Measured, QualityGate
from app.recipes.search import SearchReport, SparsitySearch, Tried

GATE = QualityGate(metric="accuracy", max_drop=0.02)


def tried(sparsity, qualifies):
    return Tried(sparsity=sparsity, value=0.9, drop=0.01, at_worst=0.02, qualifies=qualifies)


def search_of(search, limit):
    """The tries where everything up to the limit is good."""
    seen = {}
    while (sparsity := search.next(seen)) is not None:
        assert sparsity not in seen
        seen[sparsity] = tried(sparsity, sparsity <= limit)
    return seen


searches = st.builds(
    SparsitySearch,
    step=st.sampled_from([0.01, 0.025, 0.05, 0.1, 0.3]),
    most=st.sampled_from([0.3, 0.5, 0.9, 0.95, 0.99]),
)


@given(searches, st.floats(0, 1))
def test_the_largest_that_is_good_is_found_in_few_tries(search, limit):
    seen = search_of(search, limit)
    grid = [round(k * search.step, 9) for k in range(1, 200)]
    good = [each for each in grid if each <= search.most + 1e-9 and each <= limit]
    found = SearchReport.of(GATE, list(seen.values())).found
    assert found == (max(good) if good else None)
    assert len(seen) <= search.evaluations
    assert max(seen) <= search.most + 1e-9


def test_six_tries_decide_between_thirty_eight_sparsities():
    search = SparsitySearch()
    assert (search.first, search.evaluations) == (0.5, 6)
    assert max(len(search_of(search, limit / 40)) for limit in range(41)) == 6


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
@pytest.mark.parametrize(("end", "good"), [(0.0199, True), (0.02, True), (0.0201, False)])
def test_the_far_end_of_the_interval_decides(metric, end, good):
    worse = 1 if metric == "perplexity" else -1
    low, high = sorted((worse * end, 0.0))
    one = Estimate(value=1, low=1, high=1)
    change = Estimate(value=worse * 0.01, low=low, high=high)
    measured = Measured(samples=9, before=one, after=one, change=change)
    found = Tried.of(0.5, QualityGate(metric=metric, max_drop=0.02), measured)
    assert (found.drop, found.at_worst, found.qualifies) == (0.01, end, good)


def test_a_report_lists_them_in_order():
    report = SearchReport.of(GATE, [tried(0.5, True), tried(0.75, False), tried(0.625, True)])
    assert [each.sparsity for each in report.tried] == [0.5, 0.625, 0.75]
    assert report.found == 0.625
