"""Magnitude on the scale of its own matrix."""

from typing import Literal

from app.errors import RecipeError
from app.recipes.allocation import Allocation, Pooled
from app.recipes.method import Importance, WeightMethod


class L2Normalized(Importance):
    """|w| / ||W||_F: magnitude on the scale of its own matrix. Needs no data."""

    former_kinds = ("l2-normalised",)

    kind: Literal["l2-normalized"] = "l2-normalized"


class L2NormalizedMethod(WeightMethod):
    """Magnitude on the scale of its own matrix."""

    name = "l2-normalized"
    former_names = ("l2-normalised",)
    summary = "|weight| over the Frobenius norm of its matrix, one threshold for the whole model."
    paper = "baseline of MULTIFLOW, CVPR 2024, arXiv 2404.05621"

    def allocation(self) -> Allocation:
        """One threshold over all matrices."""
        return Pooled()

    def importance(self) -> Importance:
        """|w| / ||W||_F."""
        return L2Normalized()

    def under_nm(self) -> Allocation:
        """Refused: the norm only tells matrices apart."""
        raise RecipeError(only_allocates(self.name))


def only_allocates(name: str) -> str:
    """Why a method that ranks as magnitude does inside a matrix has no N:M form."""
    return (
        f"{name} decides how much of each matrix goes, which an n:m pattern fixes; inside a matrix "
        "it ranks as magnitude does, so ask for magnitude"
    )
