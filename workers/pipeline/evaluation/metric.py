"""What a metric is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from app.recipes.evaluation import MetricName, SampleAnswer
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.subject import Subject

ScoresOf = Mapping[MetricName, RecordScores]


class Metric(ABC):
    """Measures one thing, or a few that fall out of the same forward passes.

    One instance sees the dense model first and the pruned one later.

    Attributes:
        names: what it measures.
    """

    names: ClassVar[tuple[MetricName, ...]]

    def __init__(self, scratch: Path) -> None:
        """Keep large things from the dense to the pruned model in `scratch`, a directory."""
        self.scratch = scratch

    @staticmethod
    @abstractmethod
    def fits(subject: Subject) -> bool:
        """The model and the records allow it."""

    @abstractmethod
    def before(self, subject: Subject) -> ScoresOf:
        """Measure the dense model."""

    @abstractmethod
    def after(self, subject: Subject) -> ScoresOf:
        """Measure the pruned model."""

    def sample_answers(self, subject: Subject) -> Sequence[SampleAnswer]:
        """What both models said to the first records, after both were measured; none by default."""
        del subject
        return ()

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Why a metric says little or nothing here; no gate is set on such a one.

        By default: a score of zero cannot fall.

        Args:
            subject: the model and the records.
            scores: of the dense model.
        """
        del subject
        return {
            name: "the dense model scores 0, so it cannot get worse"
            for name, found in scores.items()
            if not name.lower_is_better and not found.values.any()
        }


class OwnMetric(Metric):
    """A metric of one model alone."""

    @abstractmethod
    def measure(self, subject: Subject) -> ScoresOf:
        """Measure a model."""

    def before(self, subject: Subject) -> ScoresOf:
        """As any model."""
        return self.measure(subject)

    def after(self, subject: Subject) -> ScoresOf:
        """As any model."""
        return self.measure(subject)
