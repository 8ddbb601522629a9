"""CHITA."""

from typing import Literal

from pydantic import Field

from app.recipes.method import Importance, Schedule, Staged
from app.recipes.methods.snip import GradientMethod
from app.strict import Strict

_FLOAT = 4


class Quadratic(Strict):
    """Settings of the problem that is solved."""

    damping: float = Field(default=1e-5, gt=0, le=1, description="ridge lambda per batch")
    block_size: int = Field(default=10_000, ge=1, le=100_000, description="weights solved together")


class Chita(Quadratic, Staged):
    """Block-wise Fisher quadratic (Benbaki et al., ICML 2023, arXiv 2302.14623)."""

    reads = "gradients"
    updates_weights = True
    bytes_per_row_weight = _FLOAT

    kind: Literal["chita"] = "chita"

    @property
    def schedule(self) -> Schedule:
        """Block by block, all on the gradients of the model as it was."""
        return "joint"

    @property
    def backwards(self) -> int:
        """For the sum, the line search, and the rows of every block."""
        return 3 * self.stages

    def bytes_per_weight(self, width: int) -> int:
        """The gradients' sum in float32, and the new weights."""
        return _FLOAT + width


class ChitaMethod(Quadratic, GradientMethod):
    """CHITA."""

    name = "chita"
    summary = "Sparse regression on the gradients of every batch; updates the surviving weights."
    paper = "Benbaki et al., ICML 2023, arXiv 2302.14623"

    def importance(self) -> Importance:
        """Block-wise Fisher quadratic."""
        return self.part(Chita)
