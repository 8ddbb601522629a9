"""The sparsest model that is still good: which sparsities are tried, and what came of each."""

import math
from collections.abc import Mapping, Sequence

from pydantic import Field

from app.recipes.evaluation import EvaluationReport, Measured, MetricName, QualityGate
from app.strict import Strict

AUTO = "auto"  # in place of a sparsity


class Tried(Strict):
    """One sparsity that was tried.

    Attributes:
        sparsity: asked for.
        value: the gate's metric of the pruned model.
        drop: how much worse the metric got.
        at_worst: upper end of its 95 % interval, paired by record; this decides.
        qualifies: whether that is within the gate.
    """

    sparsity: float
    value: float
    drop: float
    at_worst: float
    qualifies: bool

    @classmethod
    def of(cls, sparsity: float, gate: QualityGate, measured: Measured) -> "Tried":
        """What the measurement says under the gate."""
        change = measured.change
        if gate.metric.lower_is_better:
            drop, worst = change.value, change.high
        else:
            drop, worst = -change.value, -change.low
        return cls(
            sparsity=sparsity,
            value=measured.after.value,
            drop=drop,
            at_worst=worst,
            qualifies=worst <= gate.max_drop,
        )


class SparsitySearch(Strict):
    """Multiples of `step` up to `most`, of which the largest within the quality gate is wanted.

    The search takes a sparser model for a worse one, and halves what is left with every try.
    """

    step: float = Field(default=0.025, gt=0, lt=1)
    most: float = Field(default=0.95, gt=0, lt=1)

    @property
    def evaluations(self) -> int:
        """The most sparsities that are tried."""
        return 1 + math.ceil(math.log2(max(self._first, self._count + 1 - self._first)))

    @property
    def first(self) -> float:
        """The sparsity that is tried first."""
        return self._at(self._first)

    def next(self, tried: Mapping[float, Tried]) -> float | None:
        """The sparsity to try next; None where the answer is known."""
        if not tried:
            return self.first
        good = max((self._index(s) for s, each in tried.items() if each.qualifies), default=0)
        bad = min(
            (self._index(s) for s, each in tried.items() if not each.qualifies),
            default=self._count + 1,
        )
        return self._at((good + bad) // 2) if bad - good > 1 else None

    @property
    def _count(self) -> int:
        return math.floor(self.most / self.step + 1e-9)

    @property
    def _first(self) -> int:
        return max(1, min(self._count, round(0.5 / self.step)))

    def _at(self, index: int) -> float:
        return round(index * self.step, 9)

    def _index(self, sparsity: float) -> int:
        return round(sparsity / self.step)


class SearchReport(Strict):
    """What a search saw, the sparsities in ascending order; `found` is None where none is good."""

    metric: MetricName
    max_drop: float
    tried: tuple[Tried, ...]
    found: float | None

    @classmethod
    def of(cls, gate: QualityGate, tried: Sequence[Tried]) -> "SearchReport":
        """The report of these tries."""
        return cls(
            metric=gate.metric,
            max_drop=gate.max_drop,
            tried=tuple(sorted(tried, key=lambda each: each.sparsity)),
            found=max((each.sparsity for each in tried if each.qualifies), default=None),
        )

    def judged(self, evaluation: EvaluationReport) -> EvaluationReport:
        """The evaluation of the model that is left, whose gate passes where one was found."""
        gate = evaluation.gate
        passed = gate and gate.model_copy(update={"passed": self.found is not None})
        return evaluation.model_copy(update={"gate": passed})
