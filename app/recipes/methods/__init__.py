"""Named methods: presets of allocation x importance x pattern, and ways to train routers."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from app.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.messages import in_words
from app.recipes.methods.ecoflap import ECoFLaPMethod
from app.recipes.methods.gradient import (
    ChitaMethod,
    ChitaPlusPlusMethod,
    IterativeSnipMethod,
    SnipMethod,
)
from app.recipes.methods.local import SparseGPTMethod, WandaMethod
from app.recipes.methods.magnitude import (
    L2NormalisedMethod,
    LampMethod,
    MagnitudeMethod,
    RandomMethod,
)
from app.recipes.methods.method import Method, WeightMethod
from app.recipes.methods.multiflow import MultiflowMethod
from app.recipes.methods.par import ParMethod
from app.recipes.recipe import NM, Pattern, Recipe, Unstructured
from app.recipes.routing import Routing

__all__ = [
    "METHODS",
    "WEIGHT_METHODS",
    "Method",
    "WeightMethod",
    "build_recipe",
    "build_routing",
    "find_method",
]

WEIGHT_METHODS: dict[str, type[WeightMethod]] = {
    method.name: method
    for method in (
        MagnitudeMethod,
        L2NormalisedMethod,
        LampMethod,
        RandomMethod,
        MultiflowMethod,
        SnipMethod,
        IterativeSnipMethod,
        ChitaMethod,
        ChitaPlusPlusMethod,
        WandaMethod,
        SparseGPTMethod,
        ECoFLaPMethod,
    )
}
ROUTE_METHODS: dict[str, type[ParMethod]] = {ParMethod.name: ParMethod}
METHODS: dict[str, type[Method]] = {**WEIGHT_METHODS, **ROUTE_METHODS}


def find_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        UnknownMethodError: there is none; near names are suggested.
    """
    return _find(METHODS, name)


def build_recipe(name: str, parameters: dict[str, Any], pattern: str, **common: Any) -> Recipe:
    """The recipe that a named method stands for.

    Args:
        name: a key of `WEIGHT_METHODS`.
        parameters: values for the method's own fields.
        pattern: `unstructured` or `N:M`.
        **common: the remaining fields of `Recipe` (sparsity, targets, ignore, seed).

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range.
        RecipeError: sparsity, pattern and method do not fit together.
    """
    method = _parametrised(WEIGHT_METHODS, name, parameters)
    shape = _pattern(pattern, method)
    try:
        return Recipe(
            allocation=method.under_nm() if isinstance(shape, NM) else method.allocation(),
            importance=method.importance(),
            pattern=shape,
            **common,
        )
    except ValidationError as error:
        raise RecipeError("; ".join(_said(issue) for issue in error.errors())) from error


def build_routing(name: str, parameters: dict[str, Any], seed: int) -> Routing:
    """The routing that a named method stands for.

    Args:
        name: a key of `ROUTE_METHODS`.
        parameters: values for the method's own fields.
        seed: of everything drawn.

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range, or there are two budgets.
    """
    return _parametrised(ROUTE_METHODS, name, parameters).routing(seed)


_Named = TypeVar("_Named", bound=Method)


def _find(methods: Mapping[str, type[_Named]], name: str) -> type[_Named]:
    if name not in methods:
        near = difflib.get_close_matches(name, methods, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(methods))}"
        raise UnknownMethodError(f"there is no method {name!r}; {hint}")
    return methods[name]


def _parametrised(
    methods: Mapping[str, type[_Named]], name: str, parameters: dict[str, Any]
) -> _Named:
    try:
        return _find(methods, name)(**parameters)
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


def _pattern(text: str, method: WeightMethod) -> Pattern:
    if text == "unstructured":
        return Unstructured(group=method.group())
    n, m = text.split(":")
    return NM(n=int(n), m=int(m))
