"""What a named method says about itself."""

from abc import ABC, abstractmethod
from inspect import isabstract
from typing import Any, ClassVar, Literal, TypeVar

from app.recipes.allocation import Allocation, Uniform
from app.recipes.importance import Importance
from app.recipes.routing import Routing
from app.strict import Strict

_Part = TypeVar("_Part", bound=Strict)


class Method(Strict, ABC):
    """One named method. Its fields are the method's parameters.

    Attributes:
        name: how a job names it.
        former_names: how jobs named it before; they are understood.
        summary: one sentence for `GET /v1/methods`.
        paper: where it comes from.
        prunes: weights, which become zero, or routes: the tokens and layers of each request.
        needs_data: a calibration set is read.
        needs_gradient: the model's loss is differentiated.
        updates_weights: surviving weights change too.
    """

    name: ClassVar[str]
    former_names: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str]
    paper: ClassVar[str]
    prunes: ClassVar[Literal["weights", "routes"]]
    needs_data: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    updates_weights: ClassVar[bool] = False


class RouteMethod(Method):
    """A way to train a router."""

    prunes = "routes"
    needs_data = True

    @abstractmethod
    def routing(self, seed: int) -> Routing:
        """The run that the parameters describe; `seed` is that of everything drawn."""


class WeightMethod(Method):
    """A preset of allocation x importance. What it needs is what its parts need by default."""

    prunes = "weights"

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Take the traits from the parts."""
        super().__pydantic_init_subclass__(**kwargs)
        if isabstract(cls) or "name" not in vars(cls):
            return
        preset = cls()
        importance, scoring = preset.importance(), preset.allocation().scoring
        cls.needs_data = importance.needs_data or scoring is not None
        cls.needs_gradient = importance.needs_gradient or scoring is not None
        cls.updates_weights = importance.updates_weights

    def allocation(self) -> Allocation:
        """How much of each matrix goes."""
        return Uniform()

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

    def part(self, kind: type[_Part], **more: Any) -> _Part:
        """A part of the recipe whose settings are the method's fields of the same names."""
        shared = set(kind.model_fields) & set(type(self).model_fields)
        return kind(**self.model_dump(include=shared), **more)
