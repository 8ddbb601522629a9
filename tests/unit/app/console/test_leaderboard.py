"""Which jobs of a sweep nothing beats, and what is drawn of them."""

from dataclasses import replace

import pytest

from app.console.leaderboard import MOST_SERIES, Across, plot_of, rows_of
from app.domain.job_result import JobResult, Sizes
from app.domain.jobs import JobStatus
from app.domain.sweeps import MemberResult
from app.recipes.evaluation import (
    Estimate,
    EvaluationReport,
    GateReport,
    Measured,
    MetricName,
)
from tests.unit.app.recipes.test_performance import PERFORMANCE
from tests.unit.app.reports.test_advice import job

METRIC = MetricName.PERPLEXITY


def member(name, drop, packed=None, sparsity=0.5, method="wanda", gate=None):
    """A member whose perplexity rises from 10 by `drop`."""
    before, after = (Estimate(value=v, low=v - 1, high=v + 1) for v in (10.0, 10.0 + drop))
    change = Estimate(value=drop, low=drop, high=drop)
    measured = Measured(samples=4, before=before, after=after, change=change)
    report = EvaluationReport(
        set="s",
        sha256="0",
        samples=4,
        metrics={METRIC: measured},
        gate=gate and GateReport(metric=METRIC, max_drop=gate, drop=drop, passed=True),
    )
    sizes = None if packed is None else Sizes(packed=packed)
    done = job(JobStatus.SUCCEEDED)
    for field, value in {"id": name, "method": method}.items():
        object.__setattr__(done, field, value)
    result = JobResult(sparsity=sparsity, evaluation=report, sizes=sizes)
    return MemberResult(done, result, 10.0 + drop, drop)


def unbeaten(members):
    return [each.job.id for each in rows_of(members, METRIC) if each.pareto]


def test_nothing_beats_the_smaller_and_the_better():
    found = [member("a", 1, 100), member("b", 2, 90), member("c", 3, 95), member("d", 3, 80)]
    assert unbeaten(found) == ["a", "b", "d"]
    assert unbeaten([member("a", 1, 100), member("b", 1, 100), member("c", 1, 101)]) == ["a", "b"]


def test_what_was_measured_beside_the_dense_model_is_shown():
    plain, timed = member("a", 1), member("b", 2)
    told = replace(timed, result=timed.result.model_copy(update={"performance": PERFORMANCE}))
    assert [each.performance for each in rows_of([plain, told], METRIC)] == [None, PERFORMANCE]


def test_without_sizes_it_goes_by_sparsity():
    found = [
        member("a", 1, sparsity=0.5),
        member("b", 2, sparsity=0.4),
        member("c", 2, sparsity=0.6),
    ]
    assert unbeaten(found) == ["a", "c"]


def test_a_lower_bound_of_the_gate_where_lower_is_better():
    plot = plot_of([member("a", 1, 2_000_000, gate=3)], METRIC, Across.SIZE)
    assert plot["gate"] == 13
    assert plot["y"] == "perplexity (lower is better)"
    assert plot["series"] == [{"name": "wanda", "colour": 1, "points": [(2.0, 11, 10, 12)]}]
    assert plot["dense"] == [10, 9, 11]


def test_no_more_lines_than_can_be_read():
    found = [member(str(n), 1, 100, method=f"m{n}") for n in range(MOST_SERIES + 3)]
    assert len(plot_of(found, METRIC, Across.ZEROS)["series"]) == MOST_SERIES


@pytest.mark.parametrize("across", Across)
def test_without_figures_there_is_no_plot(across):
    nothing = MemberResult(job(JobStatus.QUEUED), None, None, None)
    assert plot_of([nothing], METRIC, across) is None
    assert not rows_of([nothing], METRIC)[0].pareto


def test_a_method_has_its_colour_while_jobs_of_others_run():
    waiting = replace(member("a", 1, method="alps"), result=None)
    colour = [
        {each["name"]: each["colour"] for each in plot_of(found, METRIC, Across.ZEROS)["series"]}
        for found in ([waiting, member("b", 1)], [member("a", 1, method="alps"), member("b", 1)])
    ]
    assert colour == [{"wanda": 2}, {"alps": 1, "wanda": 2}]
    rest = [replace(member(str(n), 1, method=f"a{n}"), result=None) for n in range(MOST_SERIES)]
    assert plot_of([*rest, member("b", 1)], METRIC, Across.ZEROS) is None
