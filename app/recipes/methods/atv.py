"""ATV-Pruning."""

from typing import Literal

from app.recipes.allocation import Allocation, Uniform
from app.recipes.method import Importance, WeightMethod
from app.recipes.methods.wanda import Rounding, Wanda


class AtvMethod(WeightMethod):
    """Wanda on all text tokens and the image tokens that a block changes most."""

    name = "atv"
    summary = "Wanda on all text tokens and the few image tokens that each block changes most."
    paper = "Li, Qian, Han, CVPR 2026, arXiv 2603.16001"
    statistics_see = "atv"
    rounding: Rounding = "total"

    def allocation(self) -> Allocation:
        """The same share of every row."""
        return self.part(Uniform)

    def importance(self) -> Importance:
        """Wanda's."""
        return Wanda()

    def group(self) -> Literal["row", "matrix"]:
        """Per output row, as Wanda."""
        return "row"
