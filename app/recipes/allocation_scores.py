"""What ECoFLaP's first stage measures: how much the loss depends on each matrix."""

from typing import Self

from pydantic import model_validator

from app.errors import AllocationScoreError
from app.recipes.allocation import Estimator
from app.strict import Strict


class AllocationScores(Strict):
    """Scores batch by batch, so that parts of a run can be merged and errors can be told.

    Attributes:
        estimator: what was measured, with its settings.
        seed: of the draws, where there were any.
        batches: indices of the calibration batches, ascending.
        values: matrix name -> one score per batch, in the order of `batches`.
        outside: matrices the loss does not depend on (a block whose output nothing reads).
    """

    estimator: Estimator
    seed: int
    batches: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    outside: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_value_per_batch(self) -> Self:
        for name, values in self.values.items():
            if len(values) != len(self.batches):
                raise ValueError(f"{name} has {len(values)} scores for {len(self.batches)} batches")
        return self

    def merged(self, other: Self) -> Self:
        """This part of a run and another: other batches of the same matrices, or the reverse.

        Raises:
            AllocationScoreError: they are not parts of one run.
        """
        if (self.estimator, self.seed) != (other.estimator, other.seed):
            raise AllocationScoreError("scores of different estimators or seeds cannot be merged")
        if self.batches == other.batches:
            return self._beside(other)
        if set(self.batches) & set(other.batches) or self._names() != other._names():
            raise AllocationScoreError(
                "parts of a run share either all batches and no matrix, or the reverse"
            )
        return self._after(other)

    def _names(self) -> set[str]:
        return {*self.values, *self.outside}

    def _beside(self, other: Self) -> Self:
        if self._names() & other._names():
            raise AllocationScoreError("both parts hold scores of the same matrices and batches")
        return self.model_copy(
            update={
                "values": self.values | other.values,
                "outside": tuple(sorted({*self.outside, *other.outside})),
            }
        )

    def _after(self, other: Self) -> Self:
        """All batches in order; a matrix outside in one part scores zero in its batches."""
        order = sorted([*self.batches, *other.batches])
        values = {}
        for name in sorted({*self.values, *other.values}):
            mine = self.values.get(name, (0.0,) * len(self.batches))
            theirs = other.values.get(name, (0.0,) * len(other.batches))
            of = dict(zip(self.batches, mine, strict=True))
            of |= dict(zip(other.batches, theirs, strict=True))
            values[name] = tuple(of[index] for index in order)
        outside = sorted({*self.outside, *other.outside} - set(values))
        return self.model_copy(
            update={"batches": tuple(order), "values": values, "outside": tuple(outside)}
        )
