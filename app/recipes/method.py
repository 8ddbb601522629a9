"""What a named method's file declares: its parameters, its preset, and its importance."""

from abc import ABC, abstractmethod
from inspect import isabstract
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import Field

from app.recipes.allocation import Allocation, Uniform
from app.recipes.data import Tokens
from app.recipes.routing import Routing
from app.recipes.structure import Step
from app.strict import Strict

_Part = TypeVar("_Part", bound=Strict)

Schedule: TypeAlias = Literal["one-shot", "sequential", "joint"]
"""When weights go: all on what the dense model tells; block after block, each calibrated on what
the pruned blocks before it hand over; or all solved for together, block by block."""


Walk: TypeAlias = Literal["two-pass", "one-pass"]
"""A block is pruned on one look at the inputs of all its matrices, while it is still dense; or
input after input, each as the matrices before it in the block leave it."""


class Importance(Strict):
    """What every importance says about itself to plans and to the engine.

    Its fields are its settings. Each stands beside the method that made it known, and has one
    criterion of the same `kind` that computes it in the worker.

    Attributes:
        kind: its id.
        former_kinds: ids it had before; they are understood.
        reads: what it looks at besides the weights themselves.
        statistic: what is kept of a matrix's inputs: the sum of squares of each, or all second
            moments.
        updates_weights: weights that stay change too.
        forwards: dense forward passes of the calibration set that it costs.
        bytes_per_row_weight: held for each batch and each weight of the largest block.
    """

    kind: str
    former_kinds: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[Literal["weights", "inputs", "gradients"]] = "weights"
    statistic: ClassVar[Literal["none", "squares", "second-moments"]] = "none"
    updates_weights: ClassVar[bool] = False
    forwards: ClassVar[float] = 0.0
    bytes_per_row_weight: ClassVar[int] = 0

    @property
    def schedule(self) -> Schedule:
        """When weights go."""
        return "one-shot"

    @property
    def backwards(self) -> int:
        """Forward passes of the calibration set with their backward pass that it costs."""
        return 0

    @property
    def needs_data(self) -> bool:
        """A calibration set is read."""
        return self.reads != "weights"

    @property
    def needs_gradient(self) -> bool:
        """The model's loss is differentiated."""
        return self.reads == "gradients"

    @property
    def holds_for_any_sparsity(self) -> bool:
        """What is measured of the inputs is the dense model's, whatever the sparsity is."""
        return self.reads == "inputs" and self.schedule == "one-shot"

    def bytes_per_weight(self, width: int) -> int:
        """Held for each weight of the model until the end; `width` is that of a stored weight."""
        del width
        return 0


class Staged(Importance):
    """An importance measured anew on the pruned model, stage by stage.

    Stage t of T ends at sparsity 1 - (1 - s)^(t / T); what is pruned stays pruned.
    """

    stages: int = Field(default=1, ge=1, le=100, description="how often to measure and prune")


class Method(Strict, ABC):
    """One named method. Its fields are the method's parameters.

    Attributes:
        name: how a job names it.
        former_names: how jobs named it before; they are understood.
        summary: one sentence for `GET /v1/methods`.
        paper: where it comes from.
        prunes: weights, which become zero; routes: the tokens and layers of each request; or
            structure: parts of the model, which becomes smaller.
        needs_data: a calibration set is read.
        needs_gradient: the model's loss is differentiated.
        updates_weights: surviving weights change too.
        statistics_see: which tokens count where text and image tokens share a stream.
    """

    name: ClassVar[str]
    former_names: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str]
    paper: ClassVar[str]
    prunes: ClassVar[Literal["weights", "routes", "structure"]]
    needs_data: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    updates_weights: ClassVar[bool] = False
    statistics_see: ClassVar[Tokens] = "all"


class RouteMethod(Method):
    """A way to train a router."""

    prunes = "routes"
    needs_data = True

    @abstractmethod
    def routing(self, seed: int) -> Routing:
        """The run that the parameters describe; `seed` is that of everything drawn."""


class StructureMethod(Method):
    """A way to make a model smaller, and nothing else."""

    prunes = "structure"
    needs_data = True

    @abstractmethod
    def step(self) -> Step:
        """What is taken out."""

    def part(self, kind: type[_Part]) -> _Part:
        """The step whose settings are the method's fields."""
        return kind(**self.model_dump())


class WeightMethod(Method):
    """A preset of allocation x importance. What it needs is what its parts need by default.

    Attributes:
        version: of the parts, where they may change; None where the name says what they are.
    """

    prunes = "weights"
    version: ClassVar[int | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Take the traits from the parts."""
        super().__pydantic_init_subclass__(**kwargs)
        if isabstract(cls) or "name" not in vars(cls):
            return
        preset = cls()
        importance, scoring = preset.importance(), preset.allocation().scoring
        cls.needs_data = importance.needs_data or scoring is not None
        scored = scoring is not None and scoring.kind != "density"
        cls.needs_gradient = importance.needs_gradient or scored
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

    def walk(self) -> Walk:
        """How the inputs of a block's matrices are looked at."""
        return "two-pass"

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
