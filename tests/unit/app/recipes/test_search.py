"""Which sparsities a search tries, and what it makes of what it sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.evaluation import Estimate, Measured, QualityGate
from app.recipes.recipe import Recipe
from app.recipes.search import Ladder, Search, SearchReport, Tried
from app.recipes.structure import Depth

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
    Ladder,
    step=st.sampled_from([0.01, 0.025, 0.05, 0.1, 0.3]),
    most=st.sampled_from([0.3, 0.5, 0.9, 0.95, 0.99]),
)


@given(searches, st.floats(0, 1))
def test_the_largest_that_is_good_is_found_in_few_tries(search, limit):
    seen = search_of(search, limit)
    grid = [round(k * search.step, 9) for k in range(1, 200)]
    good = [each for each in grid if each <= search.most + 1e-9 and each <= limit]
    found = max((each.share for each in seen.values() if each.qualifies), default=None)
    assert found == (max(good) if good else None)
    assert len(seen) <= search.evaluations
    assert max(seen) <= search.most + 1e-9


def test_six_tries_decide_between_thirty_eight_sparsities():
    search = Ladder()
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
    gate = QualityGate(metric=metric, max_drop=0.02)
    found = Tried.of("sparsity", 0.5, gate, measured)
    assert (found.drop, found.at_worst, found.qualifies) == (0.01, end, good)


def test_a_report_lists_them_in_order():
    seen = [tried(0.5, True), tried(0.75, False), tried(0.625, True)]
    report = SearchReport.of(GATE, seen, {"sparsity": 0.625})
    assert [each.sparsity for each in report.tried] == [0.5, 0.625, 0.75]
    assert (report.found, report.chosen) == (0.625, {"sparsity": 0.625})
    none = SearchReport.of(GATE, seen, {"sparsity": 0.0})
    assert (none.found, none.chosen) == (None, {})


def test_what_was_stored_before_there_were_ladders_is_read():
    assert Search.model_validate({"step": 0.025, "most": 0.95}) == Search(ladders=(Ladder(),))
    first = {"sparsity": 0.5, "value": 1, "drop": 0, "at_worst": 0, "qualifies": True}
    stored = {"metric": "accuracy", "max_drop": 0.1, "tried": [first], "found": 0.5}
    report = SearchReport.model_validate(stored)
    assert (report.chosen, report.tried[0].axis) == ({"sparsity": 0.5}, "sparsity")


@given(st.integers(1, 19), st.integers(-1, 18))
def test_a_ladder_of_structures_is_climbed_from_the_middle(count, limit):
    removed = tuple(round(0.05 * number, 2) for number in range(1, count + 1))
    ladder = Ladder(axis="structure", removed=removed, structures=((Depth(),),) * count)
    seen = {}
    while (share := ladder.next(seen)) is not None:
        seen[share] = tried(share, removed.index(share) <= limit)
    good = [share for share in removed if removed.index(share) <= limit]
    found = max((share for share, each in seen.items() if each.qualifies), default=None)
    assert found == (good[-1] if good else None)
    assert len(seen) <= ladder.evaluations


def test_what_has_no_share_stays_dense():
    recipe = Recipe(sparsity={"vision": 0.5, "language": 0.5, "text": 0.3})
    search = Search(ladders=(Ladder(axis="vision"), Ladder(axis="language")))
    assert search.evaluations == 12
    assert search.first == {"vision": 0.5, "language": 0.5}
    found = search.applied(recipe, {"vision": 0.7})
    assert found.sparsity == {"vision": 0.7, "language": 0.0, "text": 0.3}
    steps = ((Depth(removed=0.25),), (Depth(removed=0.5),))
    ladder = Ladder(axis="structure", removed=(0.25, 0.5), structures=steps)
    assert ladder.applied(recipe, 0.5).structure == steps[1]
    assert ladder.applied(recipe, 0.0).structure == ()


def test_the_first_of_two_may_use_half_of_the_drop():
    search = Search(ladders=(Ladder(axis="vision"), Ladder(axis="language")))
    assert [search.allowed(GATE, number).max_drop for number in (0, 1)] == [0.01, 0.02]
    assert Search(ladders=(Ladder(),)).allowed(GATE, 0) == GATE
