"""The evaluation of one run: the dense model first, the pruned one later, then the gate."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
import torch

from app.errors import NonFiniteError
from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import (
    EvaluationOverlapError,
    EvaluationReport,
    GateReport,
    Measured,
    MetricName,
    MetricNotApplicableError,
    QualityGate,
)
from workers.pipeline.data.record import record_errors
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation.accuracy import Accuracy
from workers.pipeline.evaluation.classification import Classification
from workers.pipeline.evaluation.divergence import Divergence
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pipeline.evaluation.metric import Metric, ScoresOf
from workers.pipeline.evaluation.perplexity import Perplexity
from workers.pipeline.evaluation.recall import Recall
from workers.pipeline.evaluation.similarity import Similarity
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.engine.prune import evaluating
from workers.pruning.models.adapter import Adapter

METRICS: tuple[type[Metric], ...] = (
    Perplexity,
    Accuracy,
    Classification,
    Recall,
    Similarity,
    Divergence,
)


def choose(subject: Subject) -> list[type[Metric]]:
    """The metrics that were asked for, or all that fit.

    Raises:
        MetricNotApplicableError: one that was asked for does not fit, or none does.
    """
    fitting = [metric for metric in METRICS if metric.fits(subject)]
    measured = {name for metric in fitting for name in metric.names}
    asked = set(subject.spec.metrics)
    if missing := sorted(asked - measured) or (not fitting and sorted(MetricName)):
        known = ", ".join(sorted(measured)) or "nothing"
        raise MetricNotApplicableError(
            f"{', '.join(missing)} cannot be measured for {subject.architecture} on the records of "
            f"{subject.spec.set}; what can be: {known}"
        )
    return [metric for metric in fitting if not asked or asked.intersection(metric.names)]


def refuse_overlap(calibration: Dataset, evaluation: Dataset) -> None:
    """Calibration data cannot be evaluation data.

    Raises:
        EvaluationOverlapError: a record is in both; the message says which.
    """
    seen = set(calibration.digests)
    shared = [place for place, digest in enumerate(evaluation.digests) if digest in seen]
    if shared:
        raise EvaluationOverlapError(
            f"{len(shared)} of {len(evaluation.digests)} evaluation records are calibration "
            f"records too, the first is number {shared[0] + 1} of {evaluation.name}"
        )


class Evaluation:
    """Two measurements of one model. Use it in a `with`: metrics keep files in between."""

    def __init__(self, subject: Subject, dataset: Dataset, gate: QualityGate | None = None) -> None:
        """Choose the metrics.

        Raises:
            EvaluationDataError: there are no records.
            MetricNotApplicableError: the model or the records do not allow what was asked for.
        """
        if not subject.records:
            raise EvaluationDataError(f"{dataset.name} has no records")
        self._subject = subject
        self._dataset = dataset
        self._gate = gate
        chosen = choose(subject)
        if gate and not any(gate.metric in metric.names for metric in chosen):
            raise MetricNotApplicableError(
                f"the quality gate is on {gate.metric}, which does not apply to "
                f"{subject.architecture} on the records of {dataset.name}"
            )
        self._scratch = TemporaryDirectory(prefix="secateur-evaluation-")
        self._metrics = [metric(Path(self._scratch.name)) for metric in chosen]
        self._before: ScoresOf = {}
        self._doubts: dict[MetricName, str] = {}

    def __enter__(self) -> Self:
        """Nothing to do: the files come with the first measurement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was kept between the measurements."""
        self._scratch.cleanup()

    def before(self) -> None:
        """Measure the dense model.

        Raises:
            EvaluationDataError: a record cannot be given to the model.
            MetricNotApplicableError: the gate's metric cannot tell a broken model from a good one.
            NonFiniteError: the model's outputs are NaN or infinite.
        """
        self._before = self._measure(lambda metric: metric.before(self._subject))
        for metric in self._metrics:
            scores = {name: self._before[name] for name in metric.names}
            self._doubts |= metric.doubts(self._subject, scores)
        gate = self._gate
        if gate and gate.metric in self._doubts:
            raise MetricNotApplicableError(
                f"the quality gate is on {gate.metric}, which cannot fail: "
                f"{self._doubts[gate.metric]}"
            )

    def follow(self, adapter: Adapter) -> None:
        """Measure this model from now on: what the dense one has become."""
        self._subject = replace(self._subject, adapter=adapter)

    def after(self) -> EvaluationReport:
        """Measure the pruned model and compare; `before` comes first.

        Raises:
            NonFiniteError: the model's outputs are NaN or infinite.
        """
        found = self._measure(lambda metric: metric.after(self._subject))
        seed, asked = self._subject.spec.seed, self._subject.spec.metrics
        metrics = {
            name: compare(self._before[name], scores, seed)
            for name, scores in found.items()
            if not asked or name in asked
        }
        return EvaluationReport(
            set=self._dataset.name,
            sha256=self._dataset.sha256,
            samples=len(self._dataset.records),
            metrics=metrics,
            gate=_judged(self._gate, metrics) if self._gate else None,
            warnings=tuple(_warnings(metrics, self._doubts)),
            answers=tuple(
                each for metric in self._metrics for each in metric.sample_answers(self._subject)
            ),
        )

    def _measure(self, measure: Callable[[Metric], ScoresOf]) -> ScoresOf:
        found: dict[MetricName, RecordScores] = {}
        subject = self._subject
        records = [record.calibration for record in subject.records]
        with (
            record_errors(subject.adapter, records, subject.spec.max_length, subject.check),
            torch.no_grad(),
            evaluating(subject.adapter.model),
        ):
            for metric in self._metrics:
                found |= measure(metric)
        for name, scores in found.items():
            if not np.isfinite(scores.values).all():
                raise NonFiniteError(f"{name} is NaN or infinite: the model's outputs are")
            if not scores.weights.any():
                raise EvaluationDataError(f"{self._dataset.name} has nothing to measure {name} on")
        return found


def _warnings(
    metrics: Mapping[MetricName, Measured], doubts: Mapping[MetricName, str]
) -> Iterator[str]:
    yield from (f"{name}: {doubts[name]}" for name in metrics if name in doubts)
    for name, measured in metrics.items():
        if measured.samples == 1:
            yield f"{name}: measured on one record, whose interval says nothing"


def _judged(gate: QualityGate, metrics: Mapping[MetricName, Measured]) -> GateReport:
    change = metrics[gate.metric].change.value
    drop = change if gate.metric.lower_is_better else -change
    return GateReport(**gate.model_dump(), drop=drop, passed=drop <= gate.max_drop)
