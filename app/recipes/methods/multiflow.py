"""MULTIFLOW."""

from app.recipes.methods.method import WeightMethod
from app.recipes.recipe import Allocation, Flow, Importance, Pooled, Uniform


class MultiflowMethod(WeightMethod):
    """MULTIFLOW: once for many tasks that are not known yet."""

    name = "multiflow"
    summary = "Magnitude decides how much of each matrix goes, per modality; flow decides which."
    paper = "Farina et al., CVPR 2024, arXiv 2404.05621"
    needs_data = True

    def allocation(self) -> Allocation:
        """One threshold of magnitude per modality."""
        return Pooled(pool="modality", by="magnitude")

    def importance(self) -> Importance:
        """|w_ij| x saliency of its output neuron x saliency of its input neuron."""
        return Flow()

    def under_nm(self) -> Allocation:
        """The pattern decides how much; flow still decides which."""
        return Uniform()
