"""Keep a pruned model sparse while it is trained. Needs torch and safetensors, nothing else.

    model = AutoModelForSequenceClassification.from_pretrained("pruned")
    with KeepSparse(model, "pruned/sparse/masks.safetensors"):
        Trainer(model, ...).train()  # or any loop with a torch.optim.Optimizer

Gradients of pruned weights are zeroed before the optimiser sees them, and pruned weights are zeroed
again after every step, so that momentum, weight decay and optimisers that mix rows cannot revive
them. An optimiser that is no torch.optim.Optimizer needs a call of `apply` after each step.

The file holds one tensor of bits for each pruned tensor of the checkpoint, under its key there:
uint8, eight weights a byte, first weight in the highest bit, 1 where the weight is kept. Metadata
`tensors` is JSON: key -> {"shape", "parts"}. Each part is a parameter of the transformers model
that was pruned: the names it goes by, and the rows of the tensor it was loaded from (nearly always
all). A model in which a parameter goes by such a name, or by one that only lacks or adds leading
words ("bert." in front of an encoder), is recognised.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


@dataclass(frozen=True)
class Mask:
    """One pruned parameter: the names it goes by, and True where a weight is kept."""

    names: tuple[str, ...]
    kept: torch.Tensor


def read_masks(file: str | Path) -> Iterator[Mask]:
    """The masks of a file, one at a time."""
    with safe_open(file, framework="pt") as tensors:
        for key, entry in json.loads(tensors.metadata()["tensors"]).items():
            kept = unpack(tensors.get_tensor(key), entry["shape"])
            for part in entry["parts"]:
                first, stop = part["rows"]
                yield Mask((*part["names"], key), kept[first:stop])


# One bit every nine: a product with it puts the lowest bit of each of eight bytes into the highest.
_GATHER = 0x8040201008040201 - (1 << 64)


def pack(kept: torch.Tensor) -> torch.Tensor:
    """Bits of a bool tensor of any shape: (ceil(numel / 8),) uint8, highest bit first."""
    flat = kept.reshape(-1)
    eights = nn.functional.pad(flat, [0, -len(flat) % 8]).view(torch.int64)  # little-endian
    return (eights * _GATHER >> 56).to(torch.uint8)


def unpack(bits: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """The bool tensor that was packed."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    lanes = bits[:, None] >> places & 1
    return lanes.view(-1)[: torch.Size(shape).numel()].bool().view(shape)


class KeepSparse:
    """Holds the pruned weights of a model at zero until it is closed."""

    def __init__(self, model: nn.Module, file: str | Path) -> None:
        """Find the parameters, zero what is pruned, and watch gradients and optimiser steps.

        Raises:
            KeyError: the model has no such parameter, or several that could be meant.
        """
        self._gone = [(_find(model, mask), ~mask.kept) for mask in read_masks(file)]
        self._handles: list[Any] = [register_optimizer_step_post_hook(self._after_step)]
        for index, (parameter, _) in enumerate(self._gone):
            if parameter.requires_grad:
                self._handles.append(parameter.register_hook(self._zeroed(index)))  # type: ignore[no-untyped-call]  # torch's
        self.apply()

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.close()

    @torch.no_grad()
    def apply(self) -> None:
        """Set every pruned weight to zero."""
        for index, (parameter, _) in enumerate(self._gone):
            parameter.masked_fill_(self._on(index, parameter.device), 0)

    def revived(self) -> int:
        """How many pruned weights are not zero: none, or something else has written to them."""
        return sum(
            int(parameter.detach()[self._on(index, parameter.device)].count_nonzero())
            for index, (parameter, _) in enumerate(self._gone)
        )

    def close(self) -> None:
        """Zero the pruned weights a last time and remove the hooks."""
        self.apply()
        while self._handles:
            self._handles.pop().remove()

    def _after_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self.apply()

    def _zeroed(self, index: int) -> Any:
        return lambda gradient: gradient.masked_fill(self._on(index, gradient.device), 0)

    def _on(self, index: int, device: torch.device) -> torch.Tensor:
        parameter, gone = self._gone[index]
        if gone.device != device:  # the model was moved
            gone = gone.to(device)
            self._gone[index] = parameter, gone
        return gone


def _find(model: nn.Module, mask: Mask) -> nn.Parameter:
    shape = mask.kept.shape
    named = {n: p for n, p in model.named_parameters(remove_duplicate=False) if p.shape == shape}
    for known in mask.names:
        if known in named:
            return named[known]
    found = {
        id(parameter): parameter
        for name, parameter in named.items()
        for known in mask.names
        if name.endswith(f".{known}") or known.endswith(f".{name}")
    }
    if len(found) != 1:
        what = "no parameter" if not found else f"{len(found)} parameters"
        raise KeyError(f"{what} of this model could be {mask.names[0]} {tuple(shape)}")
    return next(iter(found.values()))
