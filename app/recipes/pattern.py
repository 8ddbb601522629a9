"""Which shape the zeros take."""

from fractions import Fraction
from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.strict import Strict


class Unstructured(Strict):
    """Any weight may go; scores are compared inside a row or inside a whole matrix."""

    kind: Literal["unstructured"] = "unstructured"
    group: Literal["row", "matrix"] = "matrix"


MAX_M = 64

FEWEST_INPUTS = 4
"""A weight with fewer inputs maps coordinates or scores, and is never pruned."""


class NM(Strict):
    """N:M pattern: of every m consecutive inputs of an output row, n are kept (2:4, 4:8, 1:4)."""

    kind: Literal["n:m"] = "n:m"
    n: int = Field(ge=1, description="weights kept per group")
    m: int = Field(ge=2, le=MAX_M, description="group size along the input dimension")

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n:m keeps n of m weights, so n < m; got {self.n}:{self.m}")
        return self

    def kept_at(self, sparsity: float) -> int:
        """The fewest weights of a group of m that stay at or below a sparsity; at least one."""
        return max(1, ceil(self.m * (1 - Fraction(repr(sparsity)))))


Pattern = Annotated[Unstructured | NM, Field(discriminator="kind")]
