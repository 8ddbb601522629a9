"""CHITA in stages."""

from pydantic import Field

from app.recipes.method import Importance
from app.recipes.methods.chita import Chita, Quadratic
from app.recipes.methods.snip import GradientMethod


class ChitaPlusPlusMethod(Quadratic, GradientMethod):
    """CHITA in stages."""

    name = "chita++"
    summary = "CHITA in stages, gradients taken anew on the pruned model; unstructured only."
    paper = "Benbaki et al., ICML 2023, arXiv 2302.14623"
    stages: int = Field(default=5, ge=2, le=100, description="how often to measure and prune")

    def importance(self) -> Importance:
        """Block-wise Fisher quadratic of the model as pruned so far."""
        return self.part(Chita)
