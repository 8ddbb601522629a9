"""Pruning methods on the wire."""

from typing import Any, Literal, Self

from pydantic import BaseModel

from app.recipes.methods import Method


class MethodOut(BaseModel):
    """One pruning method and its parameters as JSON Schema."""

    name: str
    summary: str
    paper: str
    needs_data: bool
    prunes: Literal["weights", "routes"]
    needs_gradient: bool
    updates_weights: bool
    parameters: dict[str, Any]

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
        )


class MethodList(BaseModel):
    """All methods."""

    methods: list[MethodOut]
