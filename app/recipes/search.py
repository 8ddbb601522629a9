"""The smallest result that is still good: what is tried, and what came of it.

A search climbs one ladder after the other. A ladder has shares in ascending order, of one thing
that can go: zeros in all that is pruned, zeros in one modality, or structure. The search takes a
larger share for a worse model, and halves what is left with every try.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import starmap
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from app.recipes.evaluation import EvaluationReport, Measured, MetricName, QualityGate
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe, Structure
from app.strict import Strict

AUTO = "auto"  # in place of a sparsity, or of a number of parameters

Axis: TypeAlias = Literal["structure", "sparsity"] | Modality
Chosen: TypeAlias = dict[Axis, float]


class Tried(Strict):
    """One share that was tried.

    Attributes:
        axis: what the share is of.
        sparsity: of zeros that was asked for, in all or in the modality; None of structure.
        removed: largest share of structure that was to go; None of zeros.
        parameters: that were left, where structure went.
        value: the gate's metric of the pruned model.
        drop: how much worse the metric got.
        at_worst: upper end of its 95 % interval, paired by record; this decides.
        qualifies: whether that is within what the gate allows here.
    """

    axis: Axis = "sparsity"
    sparsity: float | None = None
    removed: float | None = None
    parameters: int | None = None
    value: float
    drop: float
    at_worst: float
    qualifies: bool

    @property
    def share(self) -> float:
        """What was tried."""
        return self.sparsity or self.removed or 0.0

    @classmethod
    def of(
        cls,
        axis: Axis,
        share: float,
        gate: QualityGate,
        measured: Measured,
        parameters: int | None = None,
    ) -> "Tried":
        """What the measurement says under the gate."""
        change = measured.change
        if gate.metric.lower_is_better:
            drop, worst = change.value, change.high
        else:
            drop, worst = -change.value, -change.low
        return cls(
            axis=axis,
            **{"removed" if axis == "structure" else "sparsity": share},
            parameters=parameters,
            value=measured.after.value,
            drop=drop,
            at_worst=worst,
            qualifies=worst <= gate.max_drop,
        )


class Ladder(Strict):
    """The shares of one thing, of which the largest within the quality gate is wanted.

    Attributes:
        axis: what the shares are of.
        step: shares are multiples of it, up to `most`; those of structure are given one by one.
        removed: shares of structure, rising.
        structures: what goes at each of these.
    """

    axis: Axis = "sparsity"
    step: float = Field(default=0.025, gt=0, lt=1)
    most: float = Field(default=0.95, gt=0, lt=1)
    removed: tuple[float, ...] = ()
    structures: tuple[Structure, ...] = ()

    @property
    def evaluations(self) -> int:
        """The most shares that are tried."""
        count, first = len(self._shares), self._first
        return 1 + math.ceil(math.log2(max(first + 1, count - first)))

    @property
    def first(self) -> float:
        """The share that is tried first."""
        return self._shares[self._first]

    def next(self, tried: Mapping[float, Tried]) -> float | None:
        """The share to try next; None where the answer is known."""
        if not tried:
            return self.first
        shares = self._shares
        at = {share: number for number, share in enumerate(shares)}
        good = max((at[s] for s, each in tried.items() if each.qualifies), default=-1)
        bad = min((at[s] for s, each in tried.items() if not each.qualifies), default=len(shares))
        return shares[(good + bad) // 2] if bad - good > 1 else None

    def applied(self, recipe: Recipe, share: float) -> Recipe:
        """The recipe with the share in it; 0 leaves dense what it is of."""
        if self.axis == "structure":
            taken = dict(zip(self.removed, self.structures, strict=True))
            return recipe.model_copy(update={"structure": taken.get(share, ())})
        if self.axis == "sparsity":
            return recipe.model_copy(update={"sparsity": share})
        others = recipe.sparsity if isinstance(recipe.sparsity, dict) else {}
        return recipe.model_copy(update={"sparsity": {**others, self.axis: share}})

    @property
    def _shares(self) -> tuple[float, ...]:
        if self.axis == "structure":
            return self.removed
        count = math.floor(self.most / self.step + 1e-9)
        return tuple(round(number * self.step, 9) for number in range(1, count + 1))

    @property
    def _first(self) -> int:
        """Its number: the middle one, which of multiples is the nearest to a half."""
        count = len(self._shares)
        if self.axis == "structure":
            return (count - 1) // 2
        return max(1, min(count, round(0.5 / self.step))) - 1


class Search(Strict):
    """Ladders that are climbed one after the other.

    The first of two may use half of the drop that the gate allows, the second all of it: what one
    has used up, the other cannot have.
    """

    ladders: tuple[Ladder, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_one(cls, given: Any) -> Any:
        """As it was stored when there was one ladder alone."""
        if isinstance(given, dict) and "ladders" not in given:
            return {"ladders": (given,)}
        return given

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What is searched, in this order."""
        return tuple(ladder.axis for ladder in self.ladders)

    @property
    def evaluations(self) -> int:
        """The most tries."""
        return sum(ladder.evaluations for ladder in self.ladders)

    @property
    def first(self) -> Chosen:
        """The shares that are tried first on each ladder."""
        return {ladder.axis: ladder.first for ladder in self.ladders}

    def applied(self, recipe: Recipe, chosen: Mapping[Axis, float]) -> Recipe:
        """The recipe with these shares; what has none stays dense."""
        for ladder in self.ladders:
            recipe = ladder.applied(recipe, chosen.get(ladder.axis, 0.0))
        return recipe

    def allowed(self, gate: QualityGate, number: int) -> QualityGate:
        """The gate of a ladder, counted from 0."""
        most = gate.max_drop * (number + 1) / len(self.ladders)
        return gate.model_copy(update={"max_drop": most})


def in_words(chosen: Mapping[Axis, float]) -> str:
    """For people: `vision 0.5, language 0.6`."""
    return ", ".join(starmap("{} {:g}".format, chosen.items()))


class SearchReport(Strict):
    """What a search saw, each ladder's shares in ascending order.

    Attributes:
        found: the share that the last ladder's axis has in the result; None where none is good.
        chosen: the shares of all axes there; empty where none is good.
    """

    metric: MetricName
    max_drop: float
    tried: tuple[Tried, ...]
    found: float | None
    chosen: Chosen = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_one(cls, given: Any) -> Any:
        """As it was stored when zeros in all were searched alone."""
        if isinstance(given, dict) and "chosen" not in given and given.get("found") is not None:
            return given | {"chosen": {"sparsity": given["found"]}}
        return given

    @property
    def axes(self) -> set[Axis]:
        """What was searched."""
        return {each.axis for each in self.tried}

    @classmethod
    def of(cls, gate: QualityGate, tried: Sequence[Tried], chosen: Chosen) -> "SearchReport":
        """The report of these tries, and of what was chosen: 0 of what stays dense."""
        good = any(chosen.values())
        return cls(
            metric=gate.metric,
            max_drop=gate.max_drop,
            tried=_in_order(tried),
            found=list(chosen.values())[-1] if good else None,
            chosen=chosen if good else {},
        )

    def judged(self, evaluation: EvaluationReport) -> EvaluationReport:
        """The evaluation of the model that is left, whose gate passes where one was found."""
        gate = evaluation.gate
        passed = gate and gate.model_copy(update={"passed": self.found is not None})
        return evaluation.model_copy(update={"gate": passed})


def _in_order(tried: Collection[Tried]) -> tuple[Tried, ...]:
    axes = list(dict.fromkeys(each.axis for each in tried))
    return tuple(sorted(tried, key=lambda each: (axes.index(each.axis), each.share)))
