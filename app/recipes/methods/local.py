"""Methods that look at one matrix at a time, block after block."""

from typing import Annotated, Literal

from pydantic import Field

from app.recipes.methods.method import WeightMethod
from app.recipes.recipe import Allocation, Importance, SparseGPT, Uniform, Wanda

Rounding = Annotated[
    Literal["total", "paper"],
    Field(
        description="total: exactly floor(sparsity x weights) go; paper: each row (wanda) or "
        "matrix (sparsegpt) is rounded down by itself, as in the official code"
    ),
]


class WandaMethod(WeightMethod):
    """Wanda."""

    name = "wanda"
    summary = "|weight| x input norm, compared per output row, block after block."
    paper = "Sun et al., ICLR 2024, arXiv 2306.11695"
    needs_data = True
    rounding: Rounding = "total"

    def allocation(self) -> Allocation:
        """The same share of every row."""
        return Uniform(rounding=self.rounding)

    def importance(self) -> Importance:
        """|w_ij| * ||x_j||."""
        return Wanda()

    def group(self) -> Literal["row", "matrix"]:
        """Per output row, as in the paper."""
        return "row"


class SparseGPTMethod(WeightMethod):
    """SparseGPT."""

    name = "sparsegpt"
    summary = "Second-order choice with an update of the surviving weights, block after block."
    paper = "Frantar and Alistarh, ICML 2023, arXiv 2301.00774"
    needs_data = True
    updates_weights = True
    rounding: Rounding = "total"
    damping: float = Field(default=0.01, gt=0, le=1, description="share of mean(diag H) added")
    block_size: int = Field(default=128, ge=1, le=4096, description="columns updated together")

    def allocation(self) -> Allocation:
        """The same share of every matrix."""
        return Uniform(rounding=self.rounding)

    def importance(self) -> Importance:
        """w^2 / diag(H^-1)^2."""
        return SparseGPT(damping=self.damping, block_size=self.block_size)
