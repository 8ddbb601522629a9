"""A weight in another dtype than it is stored in, its values made when they are read.

A model's code sees a parameter of the dtype of computation that holds nothing. An operation that
reads it gets a copy of the stored values, converted there and then. The copies of one block are
kept until a weight of another one is read: however many batches go through a block, it is converted
once, and no two blocks are converted at a time. What is written to a stored weight is seen by the
next operation.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

_aten = torch.ops.aten


def stored(parameter: Tensor) -> Tensor:
    """The tensor that the values of a model's parameter lie in."""
    return parameter.origin if isinstance(parameter, Converted) else parameter


class Copies:
    """Converted weights of the block that was read last."""

    def __init__(self) -> None:
        """Begin with none."""
        self._block: nn.Module | None = None
        self._found: dict[Tensor, tuple[int, Tensor]] = {}

    def of(self, weight: "Converted") -> Tensor:
        """The converted weight; one outside of all blocks is not kept."""
        origin, version = weight.origin, weight.origin._version  # noqa: SLF001 - counts writes
        if weight.block is None:
            return origin.to(weight.dtype)
        if weight.block is not self._block:
            self._block = weight.block
            self._found.clear()
        known, copy = self._found.pop(origin, (version, None))
        if copy is None or known != version:
            copy = None  # freed before the next one is made
            copy = origin.to(weight.dtype)
        self._found[origin] = version, copy
        return copy


class Converted(Tensor):
    """Shape and device of a stored weight, another dtype, no values of its own; read only.

    Attributes:
        origin: the weight.
        block: where it lies; None outside of all blocks.
        copies: the converted weights that are kept.
    """

    origin: Tensor
    block: nn.Module | None
    copies: Copies

    @staticmethod
    def __new__(  # noqa: PYI034 - what torch makes is known by its class alone
        cls: "type[Converted]",
        origin: Tensor,
        dtype: torch.dtype,
        block: nn.Module | None,
        copies: Copies,
    ) -> "Converted":
        """Make one; see the attributes."""
        made = Tensor._make_wrapper_subclass(  # noqa: SLF001 - torch's documented way to subclass
            cls, origin.shape, strides=origin.stride(), dtype=dtype, device=origin.device
        )
        made.origin, made.block, made.copies = origin, block, copies
        return made

    def __repr__(self) -> str:  # type: ignore[override]  # torch's takes contents
        """The stored values."""
        return f"{self.origin!r} as {self.dtype}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own is no class method
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on converted copies."""
        del types
        weight = args[0]
        if isinstance(weight, Converted):
            if func is _aten.detach.default:
                return Converted(weight.origin, weight.dtype, weight.block, weight.copies)
            if func is _aten.embedding.default:  # a few rows of what may be a large table
                return func(weight.origin, *args[1:], **(kwargs or {})).to(weight.dtype)
            if func._schema.is_mutable:  # noqa: SLF001 - there is no other way to know
                raise TypeError("weights are written to as they are stored")
        args, kwargs = tree_map_only(Converted, lambda w: w.copies.of(w), (args, kwargs or {}))
        return func(*args, **kwargs)
