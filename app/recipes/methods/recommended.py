"""What our own measurements say is best."""

from pydantic import Field

from app.recipes.allocation import Allocation, ECoFLaP, GradientNorm, Uniform
from app.recipes.method import Importance, Walk, WeightMethod
from app.recipes.methods.admm import Admm


class RecommendedMethod(WeightMethod):
    """ECoFLaP's allocation matrix by matrix, and ADMM towards the dense model's outputs.

    The parts may change with what is measured; the version then does too, and a job keeps the
    parts that it began with.
    """

    name = "recommended"
    version = 2
    summary = (
        "What our measurements say is best now: a budget for each matrix by gradient norms, mask "
        "and weights solved for together, towards what the dense model gives."
    )
    paper = "our own combination; parts: arXiv 2310.02998, arXiv 2401.02938, arXiv 2406.07831"

    samples: int = Field(
        default=32, ge=1, le=4096, description="calibration samples budgets are measured on"
    )

    def allocation(self) -> Allocation:
        """By how much the loss depends on a matrix."""
        return ECoFLaP(scores=self.part(GradientNorm), granularity="matrix")

    def under_nm(self) -> Allocation:
        """The pattern as it is asked for, everywhere."""
        return Uniform()

    def importance(self) -> Importance:
        """Mask and weights together."""
        return Admm(objective="mixed", rounds=15, steps=12)

    def walk(self) -> Walk:
        """Errors inside a block are made up for too."""
        return "one-pass"
