"""The gate of a PAR job asks for paired intervals above zero; the card says what is missing."""

import pytest
import torch

from app.recipes.evaluation import QualityGateError
from app.recipes.routing import PROFILES, Routing
from app.recipes.routing_report import MIN_JUDGED, ProfileReport, RoundReport, RoutingReport
from app.reports.sections import sections
from workers.pipeline.reports import route_report
from workers.pipeline.reports.card import CARD, Front, write_reports
from workers.pruning.routing.answers import Closeness
from workers.pruning.routing.judging import ROUTER

BASELINES = ("random", "uniform", "prior")


def near(kl):
    return Closeness(kl, torch.full_like(kl, 0.5), torch.zeros_like(kl))


def report(gap, records=60, *, allow=False, spread=1.0, ratio=0.4):
    """The baselines' KL is the router's plus `gap`, and noise of the given spread."""
    draw = torch.Generator().manual_seed(0)
    router = torch.rand(records, generator=draw, dtype=torch.float64) + 1
    found = {ROUTER: near(router)}
    for name in BASELINES:
        noise = torch.randn(records, generator=draw, dtype=torch.float64)
        found[name] = near(router + gap + spread * (noise - noise.mean()))
    policies = {name: route_report._policy(found[ROUTER], each, 0) for name, each in found.items()}
    policies[ROUTER] = policies[ROUTER].model_copy(update={"kl_over_router": None})
    profile = {"tokens": 0.3, "layers": 6, "drop_layer": 2, "cached_ratio": 0.5}
    return RoutingReport(
        routing=Routing(budget=PROFILES["balanced"], allow_no_improvement=allow),
        tokens=0.3,
        layers=6,
        of_layers=8,
        flops_ratio=ratio,
        typical_prompt={"text": 20, "vision": 36},
        records={"train": 100, "choose": 20, "judge": records},
        influence=(0.1,) * 8,
        rounds=(RoundReport(pairs=1, best=0.1, worst=1, losses=(0.1,), held_out_kl=0.5),),
        chosen=0,
        profiles={
            "asked": ProfileReport(**profile, flops_ratio=ratio),
            "quality": ProfileReport(**profile, flops_ratio=1.19),
        },
        policies=policies,
        gate=route_report._gate(policies, records, allowed=allow),
    )


def card(found, directory):
    said = sections(route_report.result(found), found)
    write_reports(directory, Front("A router", "base", ("par",), {}), said)
    return (directory / CARD).read_text()


def test_a_gap_beyond_its_paired_interval_passes(tmp_path):
    found = report(gap=1.0)
    assert found.gate.passed
    assert found.gate.beaten == BASELINES
    assert route_report.refusal(found) is None
    assert "beats every baseline" in card(found, tmp_path)


@pytest.mark.parametrize("gap", [0.02, 0.0, -1.0])
def test_a_gap_that_may_be_chance_does_not(gap, tmp_path):
    """A mean above the router's is not enough."""
    found = report(gap)
    assert found.gate.unbeaten == BASELINES
    error = route_report.refusal(found)
    assert isinstance(error, QualityGateError)
    assert "random" in str(error)
    assert "allow_no_improvement" in str(error)
    assert not route_report.wanted(found)
    text = card(found, tmp_path)
    assert "beats every" not in text
    assert "not shown to beat" in text


def test_few_records_do_not_pass_whatever_their_interval(tmp_path):
    found = report(gap=5.0, records=MIN_JUDGED - 1, spread=0.1)
    assert not found.gate.unbeaten
    assert not found.gate.passed
    assert "29 records judged it and 30 are needed" in str(route_report.refusal(found))
    assert "beats every" not in card(found, tmp_path)


def test_a_job_may_allow_no_improvement():
    found = report(gap=0.0, allow=True)
    assert route_report.refusal(found) is None
    assert route_report.wanted(found)
    assert any("not shown to beat" in text for text in route_report.result(found).warnings)


def test_profiles_that_save_nothing_are_told(tmp_path):
    found = report(gap=1.0)
    told = route_report.result(found).warnings
    assert [text for text in told if "quality" in text and "119%" in text]
    text = card(found, tmp_path)
    assert "Profile quality: no fewer operations" in text
    assert "depend on the prompts beside it" in text
