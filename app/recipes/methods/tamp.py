"""TAMP."""

from typing import Literal

from pydantic import Field

from app.recipes.allocation import Allocation, Competition, Density, ECoFLaP
from app.recipes.method import Importance, WeightMethod
from app.recipes.methods.wanda import Wanda


class TampMethod(Competition, WeightMethod):
    """Blocks whose tokens differ keep more; Wanda on tokens that stand for all."""

    name = "tamp"
    summary = (
        "Blocks that make image and text tokens unlike each other keep more; Wanda on the few "
        "tokens of each matrix that stand for all."
    )
    paper = "Lee et al., ACL Findings 2025, arXiv 2504.09897"
    statistics_see = "amia"

    samples: int = Field(default=32, ge=1, le=4096, description="calibration samples for scores")

    def allocation(self) -> Allocation:
        """By how unlike the tokens of a block are."""
        return self.part(ECoFLaP, scores=self.part(Density))

    def importance(self) -> Importance:
        """Wanda's."""
        return Wanda()

    def group(self) -> Literal["row", "matrix"]:
        """Per output row, as Wanda."""
        return "row"
