"""What to prune and how: structure, then allocation x importance x pattern x reconstruction.

Structure takes whole parts out of the model; the rest is about the weights that are left, at a
target sparsity. Allocation says how much of each matrix goes, importance which weights go first,
the pattern which shape the zeros take, reconstruction what becomes of the weights that stay. A
named method (`wanda`, `magnitude`, `width`, ...) is a preset of them.
"""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, TypeVar, Union

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.messages import in_words
from app.recipes.allocation import AnyAllocation, Reused, Uniform
from app.recipes.method import (
    Importance,
    Method,
    RouteMethod,
    Schedule,
    Staged,
    StructureMethod,
    Walk,
    WeightMethod,
)
from app.recipes.methods import IMPORTANCES, METHODS
from app.recipes.methods.magnitude import Magnitude
from app.recipes.modality import Modality, Target, targets_of
from app.recipes.module_patterns import ModulePatterns
from app.recipes.pattern import MAX_M, NM, Pattern, Unstructured
from app.recipes.quantization import Quantized
from app.recipes.reconstruction import NoReconstruction, Objective, Reconstruction, Solving
from app.recipes.recovery import Recovery, Scope
from app.recipes.routing import Routing
from app.recipes.structure import Step
from app.strict import Strict

_Kind = TypeVar("_Kind", bound=Method)


def _renamed(value: Any) -> Any:
    """What was stored or sent under a former id, under today's."""
    if isinstance(value, dict) and value.get("kind") not in IMPORTANCES:
        for kind, importance in IMPORTANCES.items():
            if value.get("kind") in importance.former_kinds:
                return value | {"kind": kind}
    return value


if TYPE_CHECKING:
    AnyImportance: TypeAlias = Importance
else:
    AnyImportance = Annotated[
        Annotated[Union[tuple(IMPORTANCES.values())], Field(discriminator="kind")],  # noqa: UP007
        BeforeValidator(_renamed),
    ]


def _each_once(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kinds = [step.kind for step in steps]
    if repeated := [kind for place, kind in enumerate(kinds) if kind in kinds[:place]]:
        raise PydanticCustomError(
            "structure_repeated", "structure has {kind} twice; give it once", {"kind": repeated[0]}
        )
    return steps


Structure = Annotated[
    tuple[Annotated[Step, Field(discriminator="kind")], ...],
    Field(max_length=8),
    AfterValidator(_each_once),
]

_TOLERANCE = 0.005  # 2/3 is written .67


class RecipeParts(Strict):
    """What is pruned how, whatever the target: any parts that make sense together."""

    structure: Structure = Field(default=(), description="what is taken out first, in this order")
    allocation: AnyAllocation = Field(default=Uniform(), description="how much of each matrix goes")
    importance: AnyImportance = Field(default=Magnitude(), description="which weights go first")
    pattern: Pattern = Field(default=Unstructured(), description="which shape the zeros take")
    reconstruction: Reconstruction = Field(
        default=NoReconstruction(), description="what becomes of the weights that stay"
    )
    recovery: Recovery | None = Field(
        default=None, description="training steps towards the dense model"
    )
    walk: Walk = Field(
        default="two-pass",
        description="whether a block is pruned on one look at the inputs of all its matrices, or "
        "input after input, each as the matrices before it in the block leave it",
    )
    preset: str | None = Field(
        default=None,
        max_length=64,
        description="the method and version that the parts are those of, where they may change",
    )


class Recipe(RecipeParts):
    """The complete description of one pruning run, model and data aside."""

    kind: Literal["weights"] = "weights"
    sparsity: Target = Field(
        description="one target for all, or one per modality (others stay dense)"
    )
    targets: ModulePatterns = Field(default=("*",), min_length=1, description="modules to prune")
    ignore: ModulePatterns = Field(default=(), description="modules to leave alone")
    allow_unmatched: bool = Field(
        default=False, description="accept patterns of `ignore` that match no module"
    )
    split_qkv: bool = Field(
        default=False, description="see a fused query-key-value projection as three matrices"
    )
    include_bridge: bool = Field(
        default=False, description="prune projectors and Q-Former too, which are left alone else"
    )
    expert_tokens: int = Field(
        default=32,
        ge=1,
        description="experts to which fewer calibration tokens are routed are pruned by magnitude",
    )
    quantization: Quantized | None = Field(
        default=None, description="what the weights of linear layers in blocks are stored as"
    )
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.pattern, NM):
            share = 1 - self.pattern.n / self.pattern.m
            if any(each and abs(each - share) > _TOLERANCE for each in targets_of(self.sparsity)):
                raise ValueError(f"{self.pattern.n}:{self.pattern.m} fixes sparsity at {share:g}")
            if isinstance(self.importance, Staged) and self.importance.stages > 1:
                raise ValueError("an n:m pattern fixes sparsity, so there are no stages towards it")
        if self.solves and self.importance.schedule == "joint":
            raise ValueError(f"{self.importance.kind} solves for all weights that stay by itself")
        if self.solves and isinstance(self.importance, Staged) and self.importance.stages > 1:
            raise ValueError("weights are solved for at the end, so there are no stages before it")
        staged = isinstance(self.importance, Staged) and self.importance.stages > 1
        if self.recovery_of("block") and (staged or self.importance.schedule == "joint"):
            raise ValueError(
                f"{self.importance.kind} prunes all blocks at a time, so recovery cannot train one "
                "after the other; give it the scope model"
            )
        if self.recovery_of("block") and not self.zeroes:
            raise ValueError(
                "recovery trains a block once weights of it are zero, and none become zero; give "
                "it the scope model"
            )
        if self.structure and isinstance(self.allocation.scoring, Reused):
            raise ValueError("scores of another job are of the model before its structure changed")
        self.allocation.check(self.sparsity, self.pattern)
        return self

    @property
    def zeroes(self) -> bool:
        """Weights become zero; a recipe may do nothing but take out structure."""
        return not self.structure or any(targets_of(self.sparsity))

    @property
    def solves(self) -> bool:
        """The weights that stay are solved for, on second moments of the pruned model's inputs."""
        return self.zeroes and not isinstance(self.reconstruction, NoReconstruction)

    def recovery_of(self, scope: Scope) -> Recovery | None:
        """The training of each block, or of the whole model; None where there is none."""
        if self.recovery is None:
            return None
        meant = self.recovery.scope or ("block" if self.zeroes else "model")
        return self.recovery if meant == scope else None

    @property
    def sees_dense_model(self) -> bool:
        """A walk through the dense model goes beside the one through the pruned model."""
        return self.objective != "pruned-inputs" or self.recovery_of("block") is not None

    @property
    def objective(self) -> Objective:
        """What weights are solved towards."""
        parts = (self.importance, self.reconstruction)
        asked = {each.objective for each in parts if isinstance(each, Solving)}
        found: tuple[Objective, ...] = ("mixed", "dense-inputs")
        return next((each for each in found if each in asked), "pruned-inputs")

    @property
    def updates_weights(self) -> bool:
        """Weights that stay change too, while others go."""
        trained = self.recovery_of("block") is not None
        return self.importance.updates_weights or self.solves or trained

    @property
    def schedule(self) -> Schedule:
        """When weights go; solving takes them block after block, whatever ranks them."""
        block_by_block = self.solves or self.recovery_of("block") is not None
        return "sequential" if block_by_block else self.importance.schedule

    @property
    def reads_inputs(self) -> bool:
        """Statistics of the inputs of matrices are taken."""
        by_importance = self.importance.reads == "inputs" or self.importance.statistic != "none"
        return self.zeroes and (by_importance or self.solves)

    @property
    def needs_data(self) -> bool:
        """A calibration set is read."""
        scoring = self.allocation.scoring
        scored = scoring is not None and not isinstance(scoring, Reused)
        trained = self.recovery is not None
        zeroing = self.importance.needs_data or scored or self.solves or trained
        return bool(self.structure) or (self.zeroes and zeroing)

    def sparsity_of(self, modality: Modality) -> float:
        """Target of a modality; zero where a target per modality leaves it out."""
        if isinstance(self.sparsity, dict):
            return self.sparsity.get(modality, 0.0)
        return self.sparsity

    def stages(self) -> tuple[Self, ...]:
        """This recipe at the sparsity of every stage; the last is the recipe itself."""
        count = self.importance.stages if isinstance(self.importance, Staged) else 1
        early = (self.model_copy(update=self._at(stage / count)) for stage in range(1, count))
        return (*early, self)

    def _at(self, share: float) -> dict[str, Any]:
        if isinstance(self.sparsity, dict):
            return {"sparsity": {m: 1 - (1 - s) ** share for m, s in self.sparsity.items()}}
        return {"sparsity": 1 - (1 - self.sparsity) ** share}


def find_method(name: str) -> type[Method]:
    """The method of that name, or that had this name before.

    Raises:
        UnknownMethodError: there is none; near names are suggested.
    """
    if name in METHODS:
        return METHODS[name]
    for method in METHODS.values():
        if name in method.former_names:
            return method
    near = difflib.get_close_matches(name, METHODS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(METHODS))}"
    raise UnknownMethodError(f"there is no method {name!r}; {hint}")


def build_recipe(name: str, parameters: dict[str, Any], pattern: str, **common: Any) -> Recipe:
    """The recipe that a named method stands for.

    Args:
        name: of a method that prunes weights.
        parameters: values for the method's own fields.
        pattern: `unstructured` or `N:M`.
        **common: the remaining fields of `Recipe` (sparsity, reconstruction, targets, seed, ...).

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range.
        RecipeError: sparsity, pattern and method do not fit together.
    """
    method = _parametrized(WeightMethod, name, parameters)  # type: ignore[type-abstract]
    return complete(preset(method, _pattern(pattern, method)), **common)


def preset(method: WeightMethod, pattern: Pattern) -> RecipeParts:
    """The parts that a method with its parameters means under a pattern.

    Raises:
        RecipeError: the method has no meaning under the pattern.
    """
    return RecipeParts(
        allocation=method.under_nm() if isinstance(pattern, NM) else method.allocation(),
        importance=method.importance(),
        pattern=pattern,
        walk=method.walk(),
        preset=None if method.version is None else f"{method.name}-{method.version}",
    )


def complete(parts: RecipeParts, **common: Any) -> Recipe:
    """The recipe of these parts.

    Args:
        parts: allocation, importance, pattern.
        **common: the remaining fields of `Recipe`.

    Raises:
        RecipeError: the parts, or target and parts, do not fit together.
    """
    try:
        return Recipe(**{**dict(parts), **common})
    except ValidationError as error:
        raise RecipeError("; ".join(_said(issue) for issue in error.errors())) from error


def build_routing(name: str, parameters: dict[str, Any], seed: int) -> Routing:
    """The routing that a named method stands for.

    Args:
        name: of a method that prunes routes.
        parameters: values for the method's own fields.
        seed: of everything drawn.

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range, or there are two budgets.
    """
    method = _parametrized(RouteMethod, name, parameters)  # type: ignore[type-abstract]
    return method.routing(seed)


def build_structure(name: str, parameters: dict[str, Any], **common: Any) -> Recipe:
    """The recipe that a named method stands for which takes structure out, and zeroes nothing.

    Args:
        name: of the method.
        parameters: values for the method's own fields.
        **common: fields of `Recipe` that are not about zeros (recovery, quantization, seed).

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range.
        RecipeError: what is asked besides does not go with it.
    """
    method = _parametrized(StructureMethod, name, parameters)  # type: ignore[type-abstract]
    return complete(RecipeParts(structure=(method.step(),)), sparsity=0, **common)


def _parametrized(kind: type[_Kind], name: str, parameters: dict[str, Any]) -> _Kind:
    method = find_method(name)
    if not issubclass(method, kind):
        raise UnknownMethodError(f"{name!r} prunes {method.prunes}")
    try:
        return method(**parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        named = f"parameter {where!r} of {name!r}" if where else f"parameters of {name!r}"
        raise MethodParameterError(f"{named}: {in_words(first)}") from error


def _said(issue: Mapping[str, Any]) -> str:
    """Of a recipe, whose fields are the request's own."""
    where = ".".join(str(part) for part in issue["loc"])
    words = in_words(issue)
    return words if issue["type"] == "value_error" or not where else f"{where} {words}"


def zeros_of(pattern: str) -> float | None:
    """What an N:M pattern means as a share of zeros; None for the unstructured pattern."""
    n, colon, m = pattern.partition(":")
    if not colon:
        return None
    if not 0 < int(n) < int(m) <= MAX_M:
        raise PydanticCustomError(
            "pattern_invalid", "an N:M pattern keeps n of m weights, 0 < n < m <= 64"
        )
    return 1 - int(n) / int(m)


def _pattern(text: str, method: WeightMethod) -> Pattern:
    if text == "unstructured":
        return Unstructured(group=method.group())
    n, m = text.split(":")
    return NM(n=int(n), m=int(m))
