"""Methods that differentiate the model's loss."""

from pydantic import Field

from app.recipes.methods.method import WeightMethod
from app.recipes.recipe import Allocation, Chita, Importance, Pooled, Snip, Uniform


class GradientMethod(WeightMethod):
    """Ranks all weights of the model together."""

    needs_data = True
    needs_gradient = True

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def under_nm(self) -> Allocation:
        """The pattern decides how much."""
        return Uniform()


class SnipMethod(GradientMethod):
    """SNIP."""

    name = "snip"
    summary = "|gradient x weight|, one threshold for the whole model."
    paper = "Lee et al., ICLR 2019, arXiv 1810.02340"

    def importance(self) -> Importance:
        """|g w|."""
        return Snip()


class IterativeSnipMethod(GradientMethod):
    """SNIP in stages."""

    name = "iterative-snip"
    summary = "SNIP in stages, gradients taken anew on the pruned model; unstructured only."
    paper = "Verdenius et al., 2020, arXiv 2006.00896"
    stages: int = Field(default=5, ge=2, le=100, description="how often to measure and prune")

    def importance(self) -> Importance:
        """|g w| of the model as pruned so far."""
        return Snip(stages=self.stages)


class ChitaMethod(GradientMethod):
    """CHITA."""

    name = "chita"
    summary = "Sparse regression on the gradients of every batch; updates the surviving weights."
    paper = "Benbaki et al., ICML 2023, arXiv 2302.14623"
    updates_weights = True
    damping: float = Field(default=1e-5, gt=0, le=1, description="ridge lambda per batch")
    block_size: int = Field(default=10_000, ge=1, le=100_000, description="weights solved together")

    def importance(self) -> Importance:
        """Block-wise Fisher quadratic."""
        return Chita(damping=self.damping, block_size=self.block_size)


class ChitaPlusPlusMethod(ChitaMethod):
    """CHITA in stages."""

    name = "chita++"
    summary = "CHITA in stages, gradients taken anew on the pruned model; unstructured only."
    stages: int = Field(default=5, ge=2, le=100, description="how often to measure and prune")

    def importance(self) -> Importance:
        """Block-wise Fisher quadratic of the model as pruned so far."""
        return Chita(damping=self.damping, block_size=self.block_size, stages=self.stages)
