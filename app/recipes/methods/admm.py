"""ADMM."""

from typing import Literal

from pydantic import Field

from app.recipes.allocation import Allocation, Uniform
from app.recipes.method import Importance, Schedule, WeightMethod
from app.recipes.methods.wanda import Rounding
from app.recipes.reconstruction import Solving


class Alternation(Solving):
    """Settings of the solver."""

    damping: float = Field(
        default=0.02, gt=0, le=1, description="added to second moments that are scaled to one"
    )
    penalty: float = Field(
        default=1.0, gt=0, le=100, description="weight of what mask and weights disagree on"
    )
    rounds: int = Field(
        default=12, ge=1, le=200, description="rounds in which the sparsity grows to its target"
    )
    steps: int = Field(
        default=9, ge=1, le=1000, description="most steps that solve for the weights at the end"
    )


class Admm(Alternation, Importance):
    """Mask and weights solved for together (Boža, arXiv 2401.02938; ALPS, arXiv 2406.07831)."""

    reads = "inputs"
    statistic = "second-moments"
    updates_weights = True
    forwards = 2.0

    kind: Literal["admm"] = "admm"

    @property
    def schedule(self) -> Schedule:
        """Block after block."""
        return "sequential"


class AdmmMethod(Alternation, WeightMethod):
    """ADMM."""

    name = "admm"
    summary = "Mask and surviving weights solved for together, block after block."
    paper = "Boža, TMLR 2024, arXiv 2401.02938; Meng et al. (ALPS), NeurIPS 2024, arXiv 2406.07831"
    rounding: Rounding = "total"

    def allocation(self) -> Allocation:
        """The same share of every matrix."""
        return self.part(Uniform)

    def importance(self) -> Importance:
        """|V + U| of the alternation."""
        return self.part(Admm)
