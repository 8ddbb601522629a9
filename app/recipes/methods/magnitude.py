"""Methods that look at the weights alone, or at nothing."""

from typing import Literal

from pydantic import Field

from app.errors import RecipeError
from app.recipes.methods.method import WeightMethod
from app.recipes.recipe import (
    Allocation,
    Importance,
    L2Normalised,
    Lamp,
    Magnitude,
    Pooled,
    Random,
    Uniform,
)

_ONLY_ALLOCATES = (
    "{} decides how much of each matrix goes, which an n:m pattern fixes; inside a matrix it ranks "
    "as magnitude does, so ask for magnitude"
)


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


class L2NormalisedMethod(WeightMethod):
    """Magnitude on the scale of its own matrix."""

    name = "l2-normalised"
    summary = "|weight| over the Frobenius norm of its matrix, one threshold for the whole model."
    paper = "baseline of MULTIFLOW, CVPR 2024, arXiv 2404.05621"

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def importance(self) -> Importance:
        """|w| / ||W||_F."""
        return L2Normalised()

    def under_nm(self) -> Allocation:
        """Refused: the norm only tells matrices apart."""
        raise RecipeError(_ONLY_ALLOCATES.format(self.name))


class LampMethod(WeightMethod):
    """LAMP."""

    name = "lamp"
    summary = "Squared weight over the sum of its matrix's squares not yet pruned; needs no data."
    paper = "Lee et al., ICLR 2021, arXiv 2010.07611"

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def importance(self) -> Importance:
        """u_(i) / sum_{j >= i} u_(j) of the sorted squares."""
        return Lamp()

    def under_nm(self) -> Allocation:
        """Refused: inside a matrix the order is that of magnitude."""
        raise RecipeError(_ONLY_ALLOCATES.format(self.name))


class RandomMethod(WeightMethod):
    """Random pruning."""

    name = "random"
    summary = "Weights drawn at random by the job's seed: the floor under every other method."
    paper = "baseline of MULTIFLOW, CVPR 2024, arXiv 2404.05621"

    def allocation(self) -> Allocation:
        """Drawn from the whole model."""
        return Pooled()

    def importance(self) -> Importance:
        """Uniform in [0, 1)."""
        return Random()

    def under_nm(self) -> Allocation:
        """The pattern decides."""
        return Uniform()
