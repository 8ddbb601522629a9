"""SparseGPT."""

from typing import Literal

from pydantic import Field

from app.recipes.allocation import Allocation, Uniform
from app.recipes.method import Importance, Schedule, WeightMethod
from app.recipes.methods.wanda import Rounding
from app.strict import Strict


class Solver(Strict):
    """Settings of the solver."""

    damping: float = Field(default=0.01, gt=0, le=1, description="share of mean(diag H) added")
    block_size: int = Field(default=128, ge=1, le=4096, description="columns updated together")


class SparseGPT(Solver, Importance):
    """Optimal brain surgeon with a shared Hessian (Frantar and Alistarh, arXiv 2301.00774)."""

    reads = "inputs"
    statistic = "second-moments"
    updates_weights = True
    forwards = 2.0

    kind: Literal["sparsegpt"] = "sparsegpt"

    @property
    def schedule(self) -> Schedule:
        """Block after block."""
        return "sequential"


class SparseGPTMethod(Solver, WeightMethod):
    """SparseGPT."""

    name = "sparsegpt"
    summary = "Second-order choice with an update of the surviving weights, block after block."
    paper = "Frantar and Alistarh, ICML 2023, arXiv 2301.00774"
    rounding: Rounding = "total"

    def allocation(self) -> Allocation:
        """The same share of every matrix."""
        return self.part(Uniform)

    def importance(self) -> Importance:
        """w^2 / diag(H^-1)^2."""
        return self.part(SparseGPT)
