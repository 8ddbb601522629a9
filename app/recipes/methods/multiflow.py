"""MULTIFLOW."""

from typing import Literal

from app.recipes.allocation import Allocation, Pooled, Uniform
from app.recipes.method import Importance, WeightMethod


class Flow(Importance):
    """|w_ij| * O_i * I_j, information flow of MULTIFLOW (Farina et al., arXiv 2404.05621)."""

    reads = "inputs"
    statistic = "squares"
    forwards = 1.0

    kind: Literal["flow"] = "flow"


class MultiflowMethod(WeightMethod):
    """MULTIFLOW: once for many tasks that are not known yet."""

    name = "multiflow"
    summary = "Magnitude decides how much of each matrix goes, per modality; flow decides which."
    paper = "Farina et al., CVPR 2024, arXiv 2404.05621"

    def allocation(self) -> Allocation:
        """One threshold of magnitude per modality."""
        return Pooled(pool="modality", by="magnitude")

    def importance(self) -> Importance:
        """|w_ij| x saliency of its output neuron x saliency of its input neuron."""
        return Flow()

    def under_nm(self) -> Allocation:
        """The pattern decides how much; flow still decides which."""
        return Uniform()
