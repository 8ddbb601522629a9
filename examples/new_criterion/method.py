"""RIA: relative importance and activations. Goes to `app/recipes/methods/ria.py`."""

from typing import Literal

from pydantic import Field

from app.recipes.method import Importance, WeightMethod
from app.strict import Strict


class Activations(Strict):
    """How much the inputs count."""

    power: float = Field(default=0.5, ge=0, le=2, description="exponent of the inputs' norms")


class Ria(Activations, Importance):
    """(|w_ij| / sum_k |w_ik| + |w_ij| / sum_k |w_kj|) * ||x_j||^power."""

    reads = "inputs"
    statistic = "squares"
    forwards = 1.0

    kind: Literal["ria"] = "ria"


class RiaMethod(Activations, WeightMethod):
    """RIA."""

    name = "ria"
    summary = "|weight| relative to its row and its column, times a power of its input's norm."
    paper = "Zhang et al., ICLR 2024, arXiv 2402.17946"

    def importance(self) -> Importance:
        """Relative importance and activations."""
        return self.part(Ria)
