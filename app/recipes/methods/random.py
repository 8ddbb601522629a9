"""Random pruning."""

from typing import Literal

from app.recipes.allocation import Allocation, Pooled, Uniform
from app.recipes.method import Importance, WeightMethod


class Random(Importance):
    """Uniform in [0, 1), drawn by the recipe's seed. Needs no data."""

    kind: Literal["random"] = "random"


class RandomMethod(WeightMethod):
    """Random pruning."""

    name = "random"
    summary = "Weights drawn at random by the job's seed: the floor under every other method."
    paper = "baseline of MULTIFLOW, CVPR 2024, arXiv 2404.05621"

    def allocation(self) -> Allocation:
        """Drawn from the whole model."""
        return Pooled()

    def importance(self) -> Importance:
        """Uniform in [0, 1)."""
        return Random()

    def under_nm(self) -> Allocation:
        """The pattern decides."""
        return Uniform()
