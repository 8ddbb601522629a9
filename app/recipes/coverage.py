"""How much of a model a recipe reaches, and what it leaves dense."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pydantic import Field

from app.recipes.modality import Modality
from app.recipes.module_patterns import Patterns, names_steering, steering
from app.recipes.recipe import Recipe
from app.strict import Strict

EMBEDDING = "an embedding"
HEAD = "an output head"
CONVOLUTION = "a convolution"
OUTSIDE = "outside of blocks"
BRIDGE = "a projector or Q-Former; include_bridge prunes it"
NO_LINEAR_LAYER = "not the weight of a linear layer"
IRREVERSIBLE = "computed from other tensors of the files, in a way that cannot be reversed"
UNREAD = "not read by the model's class"
UNFED = "no calibration input reaches it"
_LISTED = 0.001  # of a model's weights
_LITTLE = 0.5
_TOLD = 3
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class LeftDense(Strict):
    """Tensors that differ in the numbers of their layers and experts alone.

    Attributes:
        name: of them all, with `*` for these numbers.
        tensors: how many there are.
        weights: in them, as far as the recipe does not reach them.
        reason: why it does not.
    """

    name: str
    tensors: int
    weights: int
    reason: str


class Coverage(Strict):
    """What a recipe reaches of all weights, embeddings and heads included.

    Attributes:
        weights: of the model.
        block_weights: of its blocks.
        reached: in matrices that the recipe takes in.
        dense: what it leaves, the largest first; what is less than a thousandth is not listed.
    """

    weights: int
    block_weights: int
    reached: int
    dense: tuple[LeftDense, ...] = Field(default=())

    @classmethod
    def of(cls, tensors: Iterable["Covered"]) -> Self:
        """Count them."""
        every = list(tensors)
        weights = sum(each.weights for each in every)
        left, count = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for each in every:
            if each.weights > each.reached:
                group = _NUMBER.sub("*", each.name), each.reason
                left[group] += each.weights - each.reached
                count[group] += 1
        return cls(
            weights=weights,
            block_weights=sum(each.weights for each in every if each.in_block),
            reached=sum(each.reached for each in every),
            dense=tuple(
                LeftDense(name=name, tensors=count[name, reason], weights=size, reason=reason)
                for (name, reason), size in left.most_common()
                if size >= _LISTED * weights
            ),
        )

    @property
    def share(self) -> float:
        """Of all weights, 0..1."""
        return self.reached / self.weights if self.weights else 0.0

    @property
    def block_share(self) -> float:
        """Of the weights in blocks, 0..1."""
        return min(self.reached / self.block_weights, 1.0) if self.block_weights else 0.0

    @property
    def warning(self) -> str | None:
        """What has to be said where the recipe reaches less than half of the model."""
        if self.share >= _LITTLE:
            return None
        told = "; ".join(
            f"{each.name} ({each.weights / self.weights:.0%}), {each.reason}"
            for each in self.dense[:_TOLD]
        )
        return (
            f"the recipe reaches {self.share:.1%} of the model's weights "
            f"({self.block_share:.1%} of those in blocks); most of the rest: {told}"
        )


@dataclass(frozen=True, slots=True)
class Covered:
    """One tensor of a model.

    Attributes:
        name: of it.
        weights: in it.
        reached: how many of them lie in matrices that the recipe takes in.
        in_block: whether it lies in a block.
        reason: why the others are left dense.
    """

    name: str
    weights: int
    reached: int
    in_block: bool
    reason: str


def why_not(recipe: Recipe, modality: Modality, names: tuple[str, ...], *, experts: bool) -> str:
    """Why a recipe leaves a matrix alone that could be pruned.

    Args:
        recipe: the recipe.
        modality: the part of the model that the matrix serves.
        names: that the matrix may be given by.
        experts: whether the model has experts.
    """
    if recipe.sparsity_of(modality) == 0:
        return f"no sparsity is asked for {modality}"
    if Patterns(recipe.ignore).match(*names):
        return "the recipe ignores it"
    part = steering(names[0], experts=experts)
    if part is not None and not names_steering(recipe.targets, part):
        return f"it steers the model; a target has to name {part}"
    reached = Patterns(recipe.targets).match(*names)
    return UNFED if reached else "no target of the recipe"
