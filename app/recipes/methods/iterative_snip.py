"""SNIP in stages."""

from pydantic import Field

from app.recipes.method import Importance
from app.recipes.methods.snip import GradientMethod, Snip


class IterativeSnipMethod(GradientMethod):
    """SNIP in stages."""

    name = "iterative-snip"
    summary = "SNIP in stages, gradients taken anew on the pruned model; unstructured only."
    paper = "Verdenius et al., 2020, arXiv 2006.00896"
    stages: int = Field(default=5, ge=2, le=100, description="how often to measure and prune")

    def importance(self) -> Importance:
        """|g w| of the model as pruned so far."""
        return self.part(Snip)
