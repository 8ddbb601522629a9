"""What a named method says about itself."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from app.recipes.recipe import Allocation, Importance, Strict


class Method(Strict, ABC):
    """One named method. Its fields are the method's parameters.

    Attributes:
        name: how a job names it.
        summary: one sentence for `GET /v1/methods`.
        paper: where it comes from.
        prunes: weights, which become zero, or routes: the tokens and layers of each request.
        needs_data: a calibration set is read.
        needs_gradient: the model's loss is differentiated.
        updates_weights: surviving weights change too.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    prunes: ClassVar[Literal["weights", "routes"]]
    needs_data: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    updates_weights: ClassVar[bool] = False


class WeightMethod(Method):
    """A preset of allocation x importance."""

    prunes = "weights"

    @abstractmethod
    def allocation(self) -> Allocation:
        """How much of each matrix goes."""

    @abstractmethod
    def importance(self) -> Importance:
        """Which weights go first."""

    def group(self) -> Literal["row", "matrix"]:
        """Inside which weights scores are compared when the pattern is unstructured."""
        return "matrix"

    def under_nm(self) -> Allocation:
        """How much of each matrix goes where an N:M pattern fixes that for every matrix.

        Raises:
            RecipeError: the method has no meaning there; the message says why.
        """
        return self.allocation()
