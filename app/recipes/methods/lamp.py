"""LAMP."""

from typing import Literal

from app.errors import RecipeError
from app.recipes.allocation import Allocation, Pooled
from app.recipes.method import Importance, WeightMethod
from app.recipes.methods.l2_normalized import only_allocates


class Lamp(Importance):
    """u_(i) / sum_{j >= i} u_(j), u = w^2 sorted (Lee et al., ICLR 2021, arXiv 2010.07611).

    Needs no data.
    """

    kind: Literal["lamp"] = "lamp"


class LampMethod(WeightMethod):
    """LAMP."""

    name = "lamp"
    summary = "Squared weight over the sum of its matrix's squares not yet pruned; needs no data."
    paper = "Lee et al., ICLR 2021, arXiv 2010.07611"

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def importance(self) -> Importance:
        """u_(i) / sum_{j >= i} u_(j) of the sorted squares."""
        return Lamp()

    def under_nm(self) -> Allocation:
        """Refused: inside a matrix the order is that of magnitude."""
        raise RecipeError(only_allocates(self.name))
