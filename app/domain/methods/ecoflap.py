"""ECoFLaP."""

from typing import Literal

from pydantic import Field

from app.domain.methods.method import WeightMethod
from app.domain.recipe import (
    Allocation,
    ECoFLaP,
    FirstOrder,
    Flow,
    GradientNorm,
    Importance,
    Magnitude,
    Reused,
    SparseGPT,
    Wanda,
    ZerothOrder,
)


class ECoFLaPMethod(WeightMethod):
    """ECoFLaP: blocks the loss depends on keep more."""

    name = "ecoflap"
    summary = "Blocks the loss depends on keep more; inside a block Wanda (or another) decides."
    paper = "Sung et al., ICLR 2024, arXiv 2310.02998"
    needs_data = True
    needs_gradient = True

    estimator: Literal["gradient-norm", "zeroth-order", "first-order"] = Field(
        default="gradient-norm",
        description="zeroth-order is the paper's; gradient-norm is what it estimates, exactly",
    )
    samples: int = Field(default=32, ge=1, le=4096, description="calibration samples for scores")
    draws: int = Field(default=1, ge=1, le=64, description="zeroth-order: draws per batch")
    scores_from: str | None = Field(
        default=None,
        max_length=64,
        description="id of an earlier ecoflap job of this model, whose scores are used again",
    )
    local: Literal["wanda", "sparsegpt", "multiflow", "magnitude"] = Field(
        default="wanda", description="which weights of a block go first"
    )
    granularity: Literal["block", "matrix", "tower"] = Field(
        default="block", description="what gets a sparsity of its own"
    )
    aggregate: Literal["sum", "avg"] = Field(
        default="sum", description="a group's score: sum over its matrices, or that per weight"
    )
    per_modality: bool = Field(
        default=False, description="a budget for each modality instead of one for the model"
    )
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: floor(sparsity x weights) go; paper: floor((1 - sparsity) x weights) "
        "stay",
    )
    max_sparsity: float | None = Field(
        default=None, gt=0, le=1, description="no group loses more; by default the target + 0.1"
    )

    def allocation(self) -> Allocation:
        """By how much the loss depends on a block."""
        return ECoFLaP(
            scores=self._scores(),
            granularity=self.granularity,
            aggregate=self.aggregate,
            budget="modality" if self.per_modality else "model",
            rounding=self.rounding,
            max_sparsity=self.max_sparsity,
        )

    def importance(self) -> Importance:
        """The local criterion."""
        match self.local:
            case "wanda":
                return Wanda()
            case "sparsegpt":
                return SparseGPT()
            case "multiflow":
                return Flow()
            case "magnitude":
                return Magnitude()

    def group(self) -> Literal["row", "matrix"]:
        """Wanda compares within output rows."""
        return "row" if self.local == "wanda" else "matrix"

    def _scores(self) -> GradientNorm | ZerothOrder | FirstOrder | Reused:
        if self.scores_from is not None:
            return Reused(job=self.scores_from)
        match self.estimator:
            case "gradient-norm":
                return GradientNorm(samples=self.samples)
            case "zeroth-order":
                return ZerothOrder(samples=self.samples, draws=self.draws)
            case "first-order":
                return FirstOrder(samples=self.samples)
