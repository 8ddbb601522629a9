"""Magnitude pruning: the weights alone are looked at."""

from typing import Literal

from pydantic import Field

from app.recipes.allocation import Allocation, Pooled, Uniform
from app.recipes.method import Importance, WeightMethod


class Magnitude(Importance):
    """|w|. Needs no data."""

    kind: Literal["magnitude"] = "magnitude"


class MagnitudeMethod(WeightMethod):
    """Magnitude pruning."""

    name = "magnitude"
    summary = "Smallest absolute weights go first; needs no data."
    paper = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    scope: Literal["row", "matrix", "modality", "global"] = Field(
        default="matrix", description="the weights among which the smallest are chosen"
    )

    def allocation(self) -> Allocation:
        """One threshold per pool for the wide scopes, the same share everywhere otherwise."""
        if self.scope in {"row", "matrix"}:
            return Uniform()
        return Pooled(pool="global" if self.scope == "global" else "modality")

    def importance(self) -> Importance:
        """|w|."""
        return Magnitude()

    def group(self) -> Literal["row", "matrix"]:
        """Rows only where asked for."""
        return "row" if self.scope == "row" else "matrix"
