"""Named methods: presets of allocation x importance x pattern, with the parameters each has."""

import difflib
from typing import Any

from pydantic import ValidationError

from app.domain.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.domain.methods.ecoflap import ECoFLaPMethod
from app.domain.methods.gradient import (
    ChitaMethod,
    ChitaPlusPlusMethod,
    IterativeSnipMethod,
    SnipMethod,
)
from app.domain.methods.local import SparseGPTMethod, WandaMethod
from app.domain.methods.magnitude import (
    L2NormalisedMethod,
    LampMethod,
    MagnitudeMethod,
    RandomMethod,
)
from app.domain.methods.method import Method
from app.domain.methods.multiflow import MultiflowMethod
from app.domain.recipe import NM, Pattern, Recipe, Unstructured

__all__ = ["METHODS", "Method", "build_recipe", "find_method"]

METHODS: dict[str, type[Method]] = {
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


def find_method(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        UnknownMethodError: there is none; near names are suggested.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(METHODS))}"
        raise UnknownMethodError(f"there is no method {name!r}; {hint}")
    return METHODS[name]


def build_recipe(name: str, parameters: dict[str, Any], pattern: str, **common: Any) -> Recipe:
    """The recipe that a named method stands for.

    Args:
        name: a key of `METHODS`.
        parameters: values for the method's own fields.
        pattern: `unstructured` or `N:M`.
        **common: the remaining fields of `Recipe` (sparsity, targets, ignore, seed).

    Raises:
        UnknownMethodError: there is no such method.
        MethodParameterError: a parameter is unknown or out of range.
        RecipeError: sparsity, pattern and method do not fit together.
    """
    try:
        method = find_method(name)(**parameters)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MethodParameterError(f"parameter {where!r} of {name!r}: {first['msg']}") from error
    shape = _pattern(pattern, method)
    try:
        return Recipe(
            allocation=method.under_nm() if isinstance(shape, NM) else method.allocation(),
            importance=method.importance(),
            pattern=shape,
            **common,
        )
    except ValidationError as error:
        raise RecipeError("; ".join(issue["msg"] for issue in error.errors())) from error


def _pattern(text: str, method: Method) -> Pattern:
    if text == "unstructured":
        return Unstructured(group=method.group())
    n, m = text.split(":")
    return NM(n=int(n), m=int(m))
