"""Named methods: presets of allocation x importance x pattern, with the parameters each has."""

import difflib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from app.domain.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.domain.recipe import (
    NM,
    Allocation,
    Importance,
    Magnitude,
    Pattern,
    Pooled,
    Recipe,
    SparseGPT,
    Strict,
    Uniform,
    Unstructured,
    Wanda,
)


class Method(Strict, ABC):
    """One named method. Its fields are the method's parameters.

    Attributes:
        name: how a job names it.
        summary: one sentence for `GET /v1/methods`.
        paper: where it comes from.
        needs_data: a calibration set is read.
        needs_gradient: the model's loss is differentiated.
        updates_weights: surviving weights change too.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    needs_data: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False
    updates_weights: ClassVar[bool] = False

    @abstractmethod
    def allocation(self) -> Allocation:
        """How much of each matrix goes."""

    @abstractmethod
    def importance(self) -> Importance:
        """Which weights go first."""

    def group(self) -> Literal["row", "matrix"]:
        """Inside which weights scores are compared when the pattern is unstructured."""
        return "matrix"


class MagnitudeMethod(Method):
    """Magnitude pruning."""

    name = "magnitude"
    summary = "Smallest absolute weights go first; needs no data."
    paper = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    scope: Literal["row", "matrix", "modality", "global"] = Field(
        default="matrix", description="the weights among which the smallest are chosen"
    )

    def allocation(self) -> Allocation:
        """One threshold per pool for the wide scopes, the same share everywhere otherwise."""
        if self.scope in {"row", "matrix"}:
            return Uniform()
        return Pooled(pool="global" if self.scope == "global" else "modality")

    def importance(self) -> Importance:
        """|w|."""
        return Magnitude()

    def group(self) -> Literal["row", "matrix"]:
        """Rows only where asked for."""
        return "row" if self.scope == "row" else "matrix"


class WandaMethod(Method):
    """Wanda."""

    name = "wanda"
    summary = "|weight| x input norm, compared per output row, block after block."
    paper = "Sun et al., ICLR 2024, arXiv 2306.11695"
    needs_data = True

    def allocation(self) -> Allocation:
        """The same share of every row."""
        return Uniform()

    def importance(self) -> Importance:
        """|w_ij| * ||x_j||."""
        return Wanda()

    def group(self) -> Literal["row", "matrix"]:
        """Per output row, as in the paper."""
        return "row"


class SparseGPTMethod(Method):
    """SparseGPT."""

    name = "sparsegpt"
    summary = "Second-order choice with an update of the surviving weights, block after block."
    paper = "Frantar and Alistarh, ICML 2023, arXiv 2301.00774"
    needs_data = True
    updates_weights = True
    damping: float = Field(default=0.01, gt=0, le=1, description="share of mean(diag H) added")
    block_size: int = Field(default=128, ge=1, le=4096, description="columns updated together")

    def allocation(self) -> Allocation:
        """The same share of every matrix."""
        return Uniform()

    def importance(self) -> Importance:
        """w^2 / diag(H^-1)^2."""
        return SparseGPT(damping=self.damping, block_size=self.block_size)


METHODS: dict[str, type[Method]] = {
    method.name: method for method in (MagnitudeMethod, WandaMethod, SparseGPTMethod)
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
    try:
        return Recipe(
            allocation=method.allocation(),
            importance=method.importance(),
            pattern=_pattern(pattern, method),
            **common,
        )
    except ValidationError as error:
        raise RecipeError("; ".join(issue["msg"] for issue in error.errors())) from error


def _pattern(text: str, method: Method) -> Pattern:
    if text == "unstructured":
        return Unstructured(group=method.group())
    n, m = text.split(":")
    return NM(n=int(n), m=int(m))
