"""What a client asks for, and the resolved specification that is stored and carried out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.domain.job_options import JobOptions, PublishOptions
from app.domain.recipe_options import RecipeOptions
from app.domain.without_zeros import generated, refuse_weights, routing, structure
from app.errors import RecipeError
from app.messages import percent_hint
from app.recipes.allocation_scores import AllocationScores
from app.recipes.data import CalibrationSpec, default_set, inputs_of
from app.recipes.device import Compute
from app.recipes.evaluation import (
    EvaluationSpec,
    QualityGate,
)
from app.recipes.methods import METHODS
from app.recipes.modality import Modality
from app.recipes.pattern import NM
from app.recipes.recipe import (
    Recipe,
    RecipeParts,
    build_recipe,
    complete,
    find_method,
    zeros_of,
)
from app.recipes.routing import Routing
from app.recipes.search import AUTO, Axis, Ladder, Search
from app.recipes.size_target import SizeTarget
from app.recipes.tasks import HarnessTask
from app.strict import Strict


def _in_range(value: float) -> float:
    if not 0 <= value < 1:
        raise PydanticCustomError(
            "sparsity_out_of_range",
            "sparsity is the share of weights set to zero: at least 0 and below 1{hint}",
            {"hint": percent_hint(value)},
        )
    return value


TargetSparsity = Annotated[
    float,
    AfterValidator(_in_range),
    Field(json_schema_extra={"minimum": 0, "exclusiveMaximum": 1}),
]
AnySparsity = Annotated[
    Annotated[TargetSparsity, Tag("all")] | Annotated[dict[Modality, TargetSparsity], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict) else "all"),
]


def _form(value: Any) -> str:
    return "each" if isinstance(value, dict) else "search" if value == AUTO else "all"


OneSparsity = Annotated[
    Annotated[TargetSparsity, Tag("all")] | Annotated[Literal["auto"], Tag("search")],
    Discriminator(_form),
]
AskedSparsity = Annotated[
    Annotated[TargetSparsity, Tag("all")]
    | Annotated[dict[Modality, OneSparsity], Tag("each")]
    | Annotated[Literal["auto"], Tag("search")],
    Discriminator(_form),
]


class ModelChoice(Strict):
    """The model to prune."""

    model: str = Field(
        min_length=1,
        max_length=512,
        description="a path under an allowed root, or hf:organisation/name@revision",
        examples=["minilm", "hf:sentence-transformers/all-MiniLM-L6-v2"],
    )


OWN_RECIPE = "recipe"  # stands for the method's name where the parts are given instead


class MethodChoice(Strict):
    """A named method and how it is set, or the parts of a recipe."""

    recipe: RecipeParts | None = Field(
        default=None,
        description="the parts of a recipe in place of a named method: allocation, importance, "
        "pattern, reconstruction, recovery; GET /v1/methods shows those that each method means",
        examples=[None],
    )
    method: str = Field(
        default=OWN_RECIPE,
        validate_default=True,
        max_length=64,
        examples=["wanda"],
        description="see GET /v1/methods; left out where a recipe is given",
    )
    parameters: dict[str, Any] = Field(default={}, description="the method's own parameters")

    @field_validator("method")
    @classmethod
    def _a_method_or_a_recipe(cls, name: str, info: ValidationInfo) -> str:
        given = info.data.get("recipe") is not None
        if given and name != OWN_RECIPE:
            raise PydanticCustomError(
                "method_and_recipe", "give a method or a recipe, not both", {}
            )
        if not given and name == OWN_RECIPE and "recipe" in info.data:
            raise PydanticCustomError(
                "field_missing", "is missing; name a method, or give a recipe"
            )
        return name

    @model_validator(mode="after")
    def _parameters_are_of_a_method(self) -> Self:
        if self.recipe is not None and self.parameters:
            raise PydanticCustomError(
                "parameters_without_method",
                "parameters belong to a named method; a recipe's parts have their own settings",
            )
        return self


def _by_something(spec: EvaluationSpec) -> EvaluationSpec:
    if spec.set is None and not spec.tasks:
        raise PydanticCustomError(
            "evaluation_of_nothing", "an evaluation needs a set, or tasks of a harness"
        )
    repeated = [each for number, each in enumerate(spec.tasks) if each in spec.tasks[:number]]
    if repeated:
        raise PydanticCustomError(
            "repeated", "the task {task} is given twice", {"task": repeated[0].offer}
        )
    return spec


class Judged(Strict):
    """The part of a job that says how the result is judged."""

    evaluation: Annotated[EvaluationSpec, AfterValidator(_by_something)] | None = Field(
        default=None, description="measure the model before and after pruning"
    )
    quality_gate: QualityGate | None = Field(
        default=None, description="end the job as failed where the model got too much worse"
    )
    measure: bool = Field(
        default=False,
        description="run the result and the dense model in turns, from their files, and tell the "
        "memory and the time that each takes",
    )

    @model_validator(mode="after")
    def _gate_is_measured(self) -> Self:
        gate, spec = self.quality_gate, self.evaluation
        if gate is None:
            return self
        if spec is None or spec.set is None:
            raise PydanticCustomError(
                "quality_gate_without_evaluation", "a quality gate needs an evaluation on a set"
            )
        if spec.metrics and gate.metric not in spec.metrics:
            raise PydanticCustomError(
                "quality_gate_not_measured",
                "the quality gate is on {metric}, which evaluation.metrics leaves out",
                {"metric": gate.metric.value},
            )
        return self


class JobRequest(
    Compute, Judged, JobOptions, PublishOptions, RecipeOptions, MethodChoice, ModelChoice
):
    """Body of `POST /v1/jobs`."""

    sparsity: AskedSparsity | None = Field(
        default=None,
        description="share of weights set to zero, for all or per modality; `auto` looks for the "
        "largest within the quality gate, of one modality after the other; an N:M pattern implies "
        "it, and a method that prunes routes has none",
        examples=[0.5],
    )
    calibration: CalibrationSpec = CalibrationSpec()

    @model_validator(mode="after")
    def _fits_method(self) -> Self:
        method = METHODS.get(self.method)  # an unknown name is told in `resolve`
        if method is not None and method.prunes != "weights":
            refuse_weights(self, method.prunes)
        else:
            self._sparsity_fits_pattern()
            self._target_has_a_structure()
        if self.searched:
            self._search_can_be_judged()
        return self

    def _search_can_be_judged(self) -> None:
        axes = " and ".join(map(str, self.searched))
        if self.quality_gate is None:
            raise PydanticCustomError(
                "sparsity_auto_without_gate",
                "{axes} is to be found, and nothing says how good the model must stay; give a "
                "quality_gate with its evaluation",
                {"axes": axes},
            )
        if self.target_parameters == AUTO and self.target_flops_ratio is not None:
            raise PydanticCustomError(
                "structure_target_given_twice",
                "target_parameters is to be looked for; leave target_flops_ratio out",
            )

    @property
    def searched(self) -> tuple[Axis, ...]:
        """What is to be found, in the order in which it is looked for."""
        sparsity = self.sparsity
        structure: tuple[Axis, ...] = ("structure",) if self.target_parameters == AUTO else ()
        if isinstance(sparsity, dict):
            asked = {modality for modality, each in sparsity.items() if each == AUTO}
            return structure + tuple(modality for modality in Modality if modality in asked)
        return (*structure, "sparsity") if sparsity == AUTO else structure

    @property
    def targets_size(self) -> bool:
        """Whether the size of the result is asked for."""
        return self.target_parameters is not None or self.target_flops_ratio is not None

    def _target_has_a_structure(self) -> None:
        if self.targets_size and not (self.recipe.structure if self.recipe else self.structure):
            raise PydanticCustomError(
                "structure_target_without_structure",
                "a target of parameters or operations needs a structure that says what may go: "
                "width, depth or experts",
            )

    def implied_sparsity(self) -> float | None:
        """What an N:M pattern means, of the recipe where one is given."""
        if self.recipe is None:
            return zeros_of(self.pattern)
        if self.pattern != _default("pattern"):
            raise PydanticCustomError(
                "pattern_given_twice", "the recipe has a pattern of its own; leave pattern out"
            )
        for part in ("reconstruction", "structure", "recovery"):
            if getattr(self, part) != _default(part):
                raise PydanticCustomError(
                    f"{part}_given_twice", f"the recipe has a {part} of its own; leave {part} out"
                )
        pattern = self.recipe.pattern
        return 1 - pattern.n / pattern.m if isinstance(pattern, NM) else None

    def _sparsity_fits_pattern(self) -> None:
        implied = self.implied_sparsity()
        smaller = bool(self.recipe and self.recipe.structure)  # that may be all
        if self.sparsity is None and implied is None and not smaller:
            raise PydanticCustomError(
                "sparsity_missing", "sparsity is needed without an N:M pattern"
            )
        sparsity = self.sparsity
        asked = sparsity.values() if isinstance(sparsity, dict) else [sparsity]
        if sparsity is not None and not any(asked) and not smaller:
            raise PydanticCustomError(
                "sparsity_zero",
                "sparsity is 0 for the whole model, so nothing would be pruned; ask for more",
            )
        if implied is not None and any(each not in (None, 0, implied) for each in asked):
            raise PydanticCustomError(
                "sparsity_contradicts_pattern",
                "{pattern} means sparsity {implied}; leave sparsity out or set it to that",
                {"pattern": self._pattern_name(), "implied": implied},
            )

    def reproduced(self) -> dict[str, Any]:
        """What was set of the fields that decide the result, as JSON."""
        others = {*JobOptions.model_fields, *PublishOptions.model_fields}
        return self.model_dump(mode="json", exclude_unset=True, exclude=others)

    def _pattern_name(self) -> str:
        pattern = self.recipe.pattern if self.recipe else None
        return f"{pattern.n}:{pattern.m}" if isinstance(pattern, NM) else self.pattern


def _default(name: str) -> Any:
    return JobRequest.model_fields[name].default


def _kind(recipe: Any) -> Any:
    if isinstance(recipe, dict):
        return recipe.get("kind", "weights")  # what was stored before there were routes
    return getattr(recipe, "kind", None)


AnyRecipe = Annotated[
    Annotated[Recipe, Tag("weights")] | Annotated[Routing, Tag("routing")], Discriminator(_kind)
]


class JobSpec(Compute, Judged):
    """A job as stored: everything that decides its result, with nothing left to look up."""

    model: str
    method: str
    recipe: AnyRecipe
    scores: AllocationScores | None = Field(
        default=None, description="measured by the earlier job whose scores are used again"
    )
    calibration: CalibrationSpec | None = Field(description="None where the method needs no data")
    tasks: tuple[HarnessTask, ...] = Field(
        default=(), description="run by harnesses on the files of both models"
    )
    search: Search | None = Field(
        default=None,
        description="looks for shares of the recipe, which has those that are tried first",
    )


def resolve(request: JobRequest, config: Mapping[str, Any] | None = None) -> JobSpec:
    """Turn a request into the specification that is stored.

    Args:
        request: what is asked.
        config: the model's config.json; None where it is not at hand. A calibration set that was
            not named is then left to the worker, see `with_default_set`.

    Raises:
        UnknownMethodError: no method has that name.
        MethodParameterError: a parameter is unknown or out of range.
        MetricNotApplicableError: a metric cannot be measured of what the method makes.
    """
    spec = _resolved(request)
    return spec if config is None else with_default_set(spec, config)


def with_default_set(spec: JobSpec, config: Mapping[str, Any]) -> JobSpec:
    """The specification with a calibration set that the model takes, where none was named."""
    calibration = spec.calibration
    if calibration is None or calibration.set is not None:
        return spec
    prompts = isinstance(spec.recipe, Routing)
    name = default_set(inputs_of(config), prompts=prompts).value
    named = calibration.model_copy(update={"set": name})
    return spec.model_copy(update={"calibration": named})


def _resolved(request: JobRequest) -> JobSpec:
    name, needs_data, prunes = OWN_RECIPE, True, "weights"
    if request.recipe is None:
        method = find_method(request.method)
        name, needs_data, prunes = method.name, method.needs_data, method.prunes
    recipe, routes = _MADE[prunes](request), prunes == "routes"
    if isinstance(recipe, Recipe) and (request.recipe or recipe.needs_data):
        needs_data = recipe.needs_data
    return JobSpec(
        model=request.model,
        method=name,
        recipe=recipe,
        calibration=_calibration(request, recipe) if needs_data else None,
        evaluation=generated(request) if routes else _on_a_set(request.evaluation),
        tasks=request.evaluation.tasks if request.evaluation else (),
        quality_gate=request.quality_gate,
        measure=request.measure,
        search=_search(request),
        device=request.device,
        dtype=request.dtype,
    )


def _calibration(request: JobRequest, recipe: Strict) -> CalibrationSpec:
    """The calibration set with the tokens of it that count.

    Raises:
        RecipeError: the recipe has no use for a choice.
    """
    spec = request.calibration
    asked = spec.tokens
    if asked is None and request.recipe is None:
        asked = find_method(request.method).statistics_see
    if asked is None or asked == "all":
        return spec
    if not isinstance(recipe, Recipe) or not recipe.reads_inputs:
        raise RecipeError(
            f"calibration.tokens is {asked}, and {request.method} takes no statistics of inputs; "
            "leave it out"
        )
    if asked == "amia" and recipe.objective != "pruned-inputs":
        raise RecipeError(
            "amia chooses tokens for every matrix by what the pruned model gives; it goes with the "
            "objective pruned-inputs alone"
        )
    return spec.model_copy(update={"tokens": asked})


def _on_a_set(asked: EvaluationSpec | None) -> EvaluationSpec | None:
    """What we measure ourselves."""
    if asked is None or asked.set is None:
        return None
    return asked.model_copy(update={"tasks": ()})


def _search(request: JobRequest) -> Search | None:
    """The ladders of zeros; that of structure comes first, and with the model's shapes."""
    ladders = tuple(Ladder(axis=axis) for axis in request.searched if axis != "structure")
    return Search(ladders=ladders) if ladders else None


def _first(asked: Any) -> Any:
    """The sparsity that is tried first, where it is to be found."""
    if isinstance(asked, dict):
        return {modality: _first(each) for modality, each in asked.items()}
    return Ladder().first if asked == AUTO else asked


_PARTS = {"pattern", "reconstruction", "structure", "recovery"}  # of a recipe
_COMMON = set(RecipeOptions.model_fields) - set(SizeTarget.model_fields) - _PARTS


def _recipe(request: JobRequest) -> Recipe:
    sparsity = _first(request.sparsity)
    common = request.model_dump(include=_COMMON)
    common["sparsity"] = request.implied_sparsity() or 0 if sparsity is None else sparsity
    if request.recipe is not None:
        return complete(request.recipe, **common)
    common |= {"reconstruction": request.reconstruction, "recovery": request.recovery}
    if request.structure:
        common["structure"] = request.structure
    return build_recipe(request.method, request.parameters, request.pattern, **common)


_MADE = {"weights": _recipe, "routes": routing, "structure": structure}
