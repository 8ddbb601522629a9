"""Requests whose method zeroes no weights: it trains a router, or makes a smaller model."""

from typing import Any, Protocol

from pydantic_core import PydanticCustomError

from app.domain.recipe_options import RecipeOptions
from app.recipes.data import Builtin, CalibrationSpec
from app.recipes.evaluation import (
    EvaluationSpec,
    MetricName,
    MetricNotApplicableError,
    QualityGate,
)
from app.recipes.recipe import Recipe, build_routing, build_structure
from app.recipes.routing import Routing
from app.recipes.size_target import SizeTarget

_OF_WEIGHTS = {"sparsity", *RecipeOptions.model_fields} - {"seed"}
_PARTS_OF_STRUCTURE = {"quantization", "recovery"}  # of a recipe that zeroes nothing
_OF_STRUCTURE = {*_PARTS_OF_STRUCTURE, *SizeTarget.model_fields}


class _Asked(Protocol):
    """What is looked at of the request for a job; a model of pydantic."""

    @property
    def method(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def measure(self) -> bool: ...
    @property
    def calibration(self) -> CalibrationSpec: ...
    @property
    def evaluation(self) -> EvaluationSpec | None: ...
    @property
    def quality_gate(self) -> QualityGate | None: ...

    def model_dump(self, *, include: set[str], exclude_defaults: bool) -> dict[str, Any]:
        """Fields by name, those without their default."""


def refuse_weights(request: _Asked, prunes: str) -> None:
    """Refuse what has a meaning for weights alone.

    Args:
        request: of a method that zeroes none.
        prunes: what it prunes in their place.

    Raises:
        PydanticCustomError: pydantic's; a field is set that means nothing here.
    """
    prompts = prunes == "routes"
    if prompts and request.measure:
        raise PydanticCustomError(
            "measure_not_of_routers",
            "{method} decides anew for every prompt which layers run, so what one prompt takes "
            "says little of others; leave measure out",
            {"method": request.method},
        )
    if prompts and request.evaluation is not None and request.evaluation.tasks:
        raise PydanticCustomError(
            "tasks_not_of_routers",
            "harnesses load plain models, and {method} makes one with a router; leave "
            "evaluation.tasks out",
            {"method": request.method},
        )
    meant = _OF_WEIGHTS if prompts else _OF_WEIGHTS - _OF_STRUCTURE
    if given := request.model_dump(include=meant, exclude_defaults=True):
        raise PydanticCustomError(
            "weights_stay_dense",
            "{method} zeroes no weights; leave out {fields}",
            {"method": request.method, "fields": ", ".join(sorted(given))},
        )
    if prompts and request.calibration.set == Builtin.SENTENCES:
        raise PydanticCustomError(
            "calibration_set_has_no_images",
            "{method} learns from images with prompts, and {set} has texts only; name a "
            "calibration set",
            {"method": request.method, "set": request.calibration.set},
        )


def routing(request: _Asked) -> Routing:
    """The recipe of a router."""
    return build_routing(request.method, request.parameters, request.seed)


def structure(request: _Asked) -> Recipe:
    """The recipe of a smaller model."""
    common = {name: getattr(request, name) for name in (*_PARTS_OF_STRUCTURE, "seed")}
    return build_structure(request.method, request.parameters, **common)


def generated(request: _Asked) -> EvaluationSpec | None:
    """What is measured of a routed model; a router sees prompts, never the answers behind them."""
    asked, gate = request.evaluation, request.quality_gate
    if asked is None:
        return None
    if {*asked.metrics, *([gate.metric] if gate else [])} - {MetricName.ACCURACY}:
        raise MetricNotApplicableError(
            f"{request.method} decides once per prompt, so it is measured by accuracy, on what the "
            "model generates"
        )
    return asked.model_copy(update={"metrics": (MetricName.ACCURACY,)})
