"""The recipe, or the router's training, that a named method with its parameters stands for."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from app.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.messages import in_words
from app.recipes.methods import find_method
from app.recipes.methods.method import Method, RouteMethod, WeightMethod
from app.recipes.pattern import NM, Pattern, Unstructured
from app.recipes.recipe import Recipe, RecipeParts
from app.recipes.routing import Routing

_Kind = TypeVar("_Kind", bound=Method)


def build_recipe(name: str, parameters: dict[str, Any], pattern: str, **common: Any) -> Recipe:
    """The recipe that a named method stands for.

    Args:
        name: of a method that prunes weights.
        parameters: values for the method's own fields.
        pattern: `unstructured` or `N:M`.
        **common: the remaining fields of `Recipe` (sparsity, targets, ignore, seed).

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
        return Recipe(**dict(parts), **common)
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


def _pattern(text: str, method: WeightMethod) -> Pattern:
    if text == "unstructured":
        return Unstructured(group=method.group())
    n, m = text.split(":")
    return NM(n=int(n), m=int(m))
