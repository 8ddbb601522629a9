"""ECoFLaP."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from app.recipes.allocation import (
    Allocation,
    Competition,
    ECoFLaP,
    FirstOrder,
    GradientNorm,
    Reused,
    ZerothOrder,
)
from app.recipes.method import Importance, WeightMethod
from app.recipes.methods.admm import Admm
from app.recipes.methods.chita import Chita
from app.recipes.methods.l2_normalized import L2Normalized
from app.recipes.methods.lamp import Lamp
from app.recipes.methods.magnitude import Magnitude
from app.recipes.methods.multiflow import Flow
from app.recipes.methods.random import Random
from app.recipes.methods.snip import Snip
from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.methods.wanda import Wanda

_Named = Literal[
    "wanda",
    "sparsegpt",
    "multiflow",
    "magnitude",
    "admm",
    "l2-normalized",
    "lamp",
    "random",
    "snip",
    "chita",
]
_Importance = Annotated[
    Wanda | SparseGPT | Flow | Magnitude | Admm | L2Normalized | Lamp | Random | Snip | Chita,
    Field(discriminator="kind"),
]
_Local = Annotated[
    Annotated[_Named, Tag("name")] | Annotated[_Importance, Tag("settings")],
    Discriminator(lambda given: "name" if isinstance(given, str) else "settings"),
]
_NAMED: dict[str, Importance] = {
    "wanda": Wanda(),
    "sparsegpt": SparseGPT(),
    "multiflow": Flow(),
    "magnitude": Magnitude(),
    "admm": Admm(),
    "l2-normalized": L2Normalized(),
    "lamp": Lamp(),
    "random": Random(),
    "snip": Snip(),
    "chita": Chita(),
}


class ECoFLaPMethod(Competition, WeightMethod):
    """ECoFLaP: blocks the loss depends on keep more."""

    name = "ecoflap"
    summary = "Blocks the loss depends on keep more; inside a block Wanda (or another) decides."
    paper = "Sung et al., ICLR 2024, arXiv 2310.02998"

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
    local: _Local = Field(
        default="wanda",
        description="which weights of a block go first: the name of an importance, or one with its "
        "settings as in a recipe",
        examples=["sparsegpt", {"kind": "admm", "objective": "mixed"}],
    )
    per_modality: bool = Field(
        default=False, description="a budget for each modality instead of one for the model"
    )
    rounding: Literal["total", "paper"] = Field(
        default="total",
        description="total: floor(sparsity x weights) go; paper: floor((1 - sparsity) x weights) "
        "stay",
    )

    def allocation(self) -> Allocation:
        """By how much the loss depends on a block."""
        budget = "modality" if self.per_modality else "model"
        return self.part(ECoFLaP, scores=self._scores(), budget=budget)

    def importance(self) -> Importance:
        """The local criterion."""
        return _NAMED[self.local] if isinstance(self.local, str) else self.local

    def group(self) -> Literal["row", "matrix"]:
        """Wanda compares within output rows."""
        return "row" if isinstance(self.importance(), Wanda) else "matrix"

    def _scores(self) -> GradientNorm | ZerothOrder | FirstOrder | Reused:
        if self.scores_from is not None:
            return Reused(job=self.scores_from)
        match self.estimator:
            case "gradient-norm":
                return self.part(GradientNorm)
            case "zeroth-order":
                return self.part(ZerothOrder)
            case "first-order":
                return self.part(FirstOrder)
