"""SNIP."""

from typing import Literal

from app.recipes.allocation import Allocation, Pooled, Uniform
from app.recipes.method import Importance, Staged, WeightMethod

_FLOAT = 4


class Snip(Staged):
    """|g * w|, g the gradient of the loss (Lee et al., ICLR 2019, arXiv 1810.02340, eq. 4)."""

    reads = "gradients"

    kind: Literal["snip"] = "snip"

    @property
    def backwards(self) -> int:
        """One in every stage."""
        return self.stages

    def bytes_per_weight(self, width: int) -> int:
        """The gradient, in float32."""
        del width
        return _FLOAT


class GradientMethod(WeightMethod):
    """Ranks all weights of the model together."""

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def under_nm(self) -> Allocation:
        """The pattern decides how much."""
        return Uniform()


class SnipMethod(GradientMethod):
    """SNIP."""

    name = "snip"
    summary = "|gradient x weight|, one threshold for the whole model."
    paper = "Lee et al., ICLR 2019, arXiv 1810.02340"

    def importance(self) -> Importance:
        """|g w|."""
        return Snip()
