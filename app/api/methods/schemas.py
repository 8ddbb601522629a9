"""Pruning methods on the wire."""

from typing import Any, Literal, Self

from pydantic import BaseModel

from app.recipes.method import Method, StructureMethod, WeightMethod
from app.recipes.pattern import Unstructured
from app.recipes.recipe import RecipeParts, preset


class MethodOut(BaseModel):
    """One pruning method and its parameters as JSON Schema."""

    name: str
    summary: str
    paper: str
    needs_data: bool
    prunes: Literal["weights", "routes", "structure"]
    needs_gradient: bool
    updates_weights: bool
    parameters: dict[str, Any]
    recipe: RecipeParts | None
    """What the method means by default; None of one that prunes routes."""

    @classmethod
    def of(cls, method: type[Method]) -> Self:
        """The wire form of a method."""
        return cls(
            name=method.name,
            summary=method.summary,
            paper=method.paper,
            needs_data=method.needs_data,
            prunes=method.prunes,
            needs_gradient=method.needs_gradient,
            updates_weights=method.updates_weights,
            parameters=method.model_json_schema(),
            recipe=_by_default(method),
        )


def _by_default(method: type[Method]) -> RecipeParts | None:
    if issubclass(method, StructureMethod):
        return RecipeParts(structure=(method().step(),))
    if not issubclass(method, WeightMethod):
        return None
    given = method()
    return preset(given, Unstructured(group=given.group()))


class MethodList(BaseModel):
    """All methods."""

    methods: list[MethodOut]
