"""The gate, the overlap check, and what is left behind."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NonFiniteError
from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import (
    EvaluationOverlapError,
    Measured,
    MetricName,
    MetricNotApplicableError,
    QualityGate,
)
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation import stage
from workers.pipeline.evaluation.stage import Evaluation, refuse_overlap


def evaluate(subject, dataset, gate, change=lambda model: None):
    with Evaluation(subject, dataset(subject), gate) as evaluation:
        evaluation.before()
        change(subject.adapter.model)
        return evaluation.after()


def shrink(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


@pytest.mark.parametrize(("max_drop", "passed"), [(0.0, False), (1e6, True)])
@pytest.mark.parametrize("metric", [MetricName.KL, MetricName.AGREEMENT])
def test_the_gate_counts_what_got_worse_whichever_way_is_better(
    subject, dataset, metric, max_drop, passed
):
    gate = QualityGate(metric=metric, max_drop=max_drop)
    report = evaluate(subject("llama"), dataset, gate, shrink)
    change = report.metrics[metric].change.value
    assert report.gate.drop == abs(change) > 0
    assert report.gate.passed is passed


def test_a_gate_on_what_does_not_fit_is_refused_before_anything_runs(subject, dataset):
    gate = QualityGate(metric="accuracy", max_drop=0)
    made = subject("llama")
    with pytest.raises(MetricNotApplicableError, match="quality gate"):
        Evaluation(made, dataset(made), gate)


def test_a_metric_that_does_not_fit_is_told_with_those_that_do(subject, monkeypatch):
    made = subject("llama", metrics=["accuracy", "perplexity"])
    words = r"^accuracy cannot be measured for \w+ on .* shapes; what can be: .*kl, .*perplexity"
    with pytest.raises(MetricNotApplicableError, match=words):
        stage.choose(made)
    assert [metric.names for metric in stage.choose(subject("llama", metrics=["perplexity"]))] == [
        (MetricName.PERPLEXITY,)
    ]
    monkeypatch.setattr(stage, "METRICS", ())
    for metrics in ([], ["perplexity"]):
        with pytest.raises(MetricNotApplicableError, match="what can be: nothing"):
            stage.choose(subject("llama", metrics=metrics))


def test_a_model_that_answers_nan_is_an_error(subject, dataset):
    def spoil(model):
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))

    with pytest.raises(NonFiniteError, match="perplexity"):
        evaluate(subject("llama"), dataset, None, spoil)


def test_nothing_is_left_behind(subject, dataset):
    made = subject("llama")
    made.adapter.model.train()
    with Evaluation(made, dataset(made)) as evaluation:
        scratch = Path(evaluation._scratch.name)
        evaluation.before()
        assert any(scratch.iterdir())
    assert not scratch.exists()
    assert all(module.training for module in made.adapter.model.modules())


def test_an_empty_set_is_refused(subject, dataset):
    made = subject("llama")
    made.records.clear()
    with pytest.raises(EvaluationDataError):
        Evaluation(made, Dataset("empty", (), ()))


DIGESTS = st.lists(st.sampled_from("abcdefgh"), max_size=6).map(tuple)


@given(DIGESTS, DIGESTS)
def test_overlap_is_refused_exactly_where_there_is_one(left, right):
    calibration, evaluation = Dataset("c", (), left), Dataset("e", (), right)
    if set(left) & set(right):
        with pytest.raises(EvaluationOverlapError):
            refuse_overlap(calibration, evaluation)
    else:
        refuse_overlap(calibration, evaluation)


def measured(change, samples=2):
    estimate = {"value": 1.0, "low": 1.0, "high": 1.0}
    return Measured(
        samples=samples, before=estimate, after=estimate, change=estimate | {"value": change}
    )


@pytest.mark.parametrize(
    ("metric", "change", "drop"),
    [
        (MetricName.PERPLEXITY, 0.5, 0.5),
        (MetricName.PERPLEXITY, -0.5, -0.5),
        (MetricName.ACCURACY, -0.5, 0.5),
        (MetricName.ACCURACY, 0.5, -0.5),
    ],
)
@pytest.mark.parametrize(("most", "fails"), [(0.25, True), (0.5, False), (0.75, False)])
def test_a_drop_that_is_just_allowed_passes(metric, change, drop, most, fails):
    gate = QualityGate(metric=metric, max_drop=most)
    found = stage._judged(gate, {metric: measured(change)})
    assert (found.drop, found.passed) == (drop, not (fails and drop > 0))
    assert (found.metric, found.max_drop) == (metric, most)


def test_metrics_that_say_little_are_told():
    metrics = {MetricName.KL: measured(0, samples=1), MetricName.ACCURACY: measured(0)}
    doubts = {MetricName.ACCURACY: "every answer is wrong", MetricName.AGREEMENT: "not asked"}
    assert list(stage._warnings(metrics, doubts)) == [
        "accuracy: every answer is wrong",
        "kl: measured on one record, whose interval says nothing",
    ]


def test_overlap_is_told_with_its_first_record():
    calibration = Dataset("c", (), ("x", "y"))
    evaluation = Dataset("e", (), ("a", "x", "y"))
    with pytest.raises(EvaluationOverlapError, match=r"2 of 3 .* the first is number 2 of e"):
        refuse_overlap(calibration, evaluation)


def test_only_what_was_asked_for_is_reported(subject, dataset):
    made = subject("llama", metrics=("kl",))
    report = evaluate(made, dataset, None)
    assert set(report.metrics) == {MetricName.KL}
    everything = evaluate(subject("llama"), dataset, None)
    assert {MetricName.KL, MetricName.PERPLEXITY} <= set(everything.metrics)
    assert (report.set, report.samples) == ("test", len(made.records))
    assert report.gate is None
