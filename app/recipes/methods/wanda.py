"""Wanda."""

from typing import Annotated, Literal

from pydantic import Field

from app.recipes.allocation import Allocation, Uniform
from app.recipes.method import Importance, Schedule, WeightMethod

Rounding = Annotated[
    Literal["total", "paper"],
    Field(
        description="total: exactly floor(sparsity x weights) go; paper: each row (wanda) or "
        "matrix (sparsegpt) is rounded down by itself, as in the official code"
    ),
]


class Wanda(Importance):
    """|w_ij| * ||x_j||_2 (Sun et al., ICLR 2024, arXiv 2306.11695, eq. 1)."""

    reads = "inputs"
    statistic = "squares"
    forwards = 1.8

    kind: Literal["wanda"] = "wanda"
    sequential: bool = Field(
        default=True, description="calibrate each block on activations of already pruned blocks"
    )

    @property
    def schedule(self) -> Schedule:
        """As asked."""
        return "sequential" if self.sequential else "one-shot"


class WandaMethod(WeightMethod):
    """Wanda."""

    name = "wanda"
    summary = "|weight| x input norm, compared per output row, block after block."
    paper = "Sun et al., ICLR 2024, arXiv 2306.11695"
    rounding: Rounding = "total"

    def allocation(self) -> Allocation:
        """The same share of every row."""
        return self.part(Uniform)

    def importance(self) -> Importance:
        """|w_ij| * ||x_j||."""
        return Wanda()

    def group(self) -> Literal["row", "matrix"]:
        """Per output row, as in the paper."""
        return "row"
