"""The MLP of a block: which projections make its channels, and which one reads them.

Told by sizes: what reads n channels and gives hidden states back is fed by what makes n of them, or
2 n where gate and up are one projection, from hidden states. `checked` holds the result against
what the block computes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.recipes.structure import WiringError
from workers.pruning.memory import fetched
from workers.pruning.models.layout.experts import EXPERTS

_ATTENTION = re.compile(r"att(ention|n)", re.IGNORECASE)
_EXPERTS = re.compile(r"(^|\.)experts(\.|$)")
_FUSED = 2  # a gate and an up projection in one
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True, eq=False)
class Mlp:
    """One MLP.

    Attributes:
        name: path of the projection that reads the channels.
        reader: that projection.
        makers: those that make the channels, by path; each makes all of them once or twice.
        width: how many channels there are.
    """

    name: str
    reader: nn.Module
    makers: tuple[tuple[str, nn.Module], ...]
    width: int
    unit: ClassVar[int] = 1  # channels that stay together or go

    def rows(self, maker: nn.Module, kept: Tensor) -> Tensor:
        """The outputs of a maker that are the kept channels."""
        count = _sizes(maker)[1] // self.width
        return torch.cat([kept + part * self.width for part in range(count)])

    def made_by(self) -> Tensor:
        """Sum of squares of the weights that make each channel, (width,) float32."""
        found = torch.zeros(self.width)
        for _, maker in self.makers:
            values = fetched(maker.weight).detach().float()  # type: ignore[arg-type]  # a parameter
            outputs = values.square().sum(0 if isinstance(maker, Conv1D) else 1)
            found = found.to(outputs.device) + outputs.view(-1, self.width).sum(0)
        return found

    def cuts(self, kept: Tensor) -> Iterator[tuple[str, nn.Module, str, int, Tensor]]:
        """What of each parameter stays: module's path, module, attribute, dimension, indices."""
        for path, maker in self.makers:
            rows = self.rows(maker, kept)
            yield path, maker, "weight", int(isinstance(maker, Conv1D)), rows
            if getattr(maker, "bias", None) is not None:
                yield path, maker, "bias", 0, rows
        yield self.name, self.reader, "weight", int(not isinstance(self.reader, Conv1D)), kept


def find_mlp(name: str, block: nn.Module) -> Mlp | None:
    """The widest MLP of a block; None where it has none.

    Raises:
        WiringError: it has experts, or several projections read as many channels.
    """
    if any(EXPERTS in module._modules for module in block.modules()):  # noqa: SLF001 - some raise where they have none
        raise _of_experts(name)
    linears: dict[str, nn.Module] = {
        path: module
        for path, module in block.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    if any(map(_EXPERTS.search, linears)):
        raise _of_experts(name)
    linears = {path: each for path, each in linears.items() if not _ATTENTION.search(path)}
    hidden = _hidden(block)
    found = [
        Mlp(f"{name}.{path}", reader, tuple((f"{name}.{p}", linears[p]) for p in makers), width)
        for path, reader in linears.items()
        if _sizes(reader)[1] == hidden
        and (makers := _makers(path, linears))
        and (width := _sizes(reader)[0])
    ]
    widest = max((each.width for each in found), default=0)
    chosen = [each for each in found if each.width == widest]
    if len(chosen) > 1:
        raise WiringError(
            f"{name}: {', '.join(each.name for each in chosen)} each read {widest} channels; which "
            "of them belong together is not understood"
        )
    return chosen[0] if chosen else None


def _hidden(block: nn.Module) -> int:
    """Size of what passes from block to block: nearly every matrix and norm has it."""
    sizes = Counter(size for p in block.parameters() if p.ndim <= _MATRIX for size in p.shape)
    return max(sizes, key=lambda size: (sizes[size], -size), default=0)


def _makers(reader: str, linears: dict[str, nn.Module]) -> list[str]:
    """Projections from hidden states to the channels that the reader gives back as such."""
    width, hidden = _sizes(linears[reader])
    before = list(linears)[: list(linears).index(reader)]
    return [
        path
        for path, module in linears.items()
        if path != reader
        and _sizes(module)[0] == hidden
        and _sizes(module)[1] in {width, _FUSED * width}
        and (width != hidden or path in before)
    ]


def _sizes(module: Any) -> tuple[int, int]:
    """Inputs and outputs."""
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return module.in_features, module.out_features


def _of_experts(name: str) -> WiringError:
    return WiringError(
        f"{name} is a mixture of experts, whose widths are left alone; give mlp_removed for the "
        "other modalities"
    )


@contextmanager
def narrowed(mlp: Mlp, kept: Tensor) -> Iterator[None]:
    """Inside, the MLP has the kept channels alone."""
    before: list[tuple[nn.Module, str, Any]] = []
    sizes: list[tuple[nn.Module, str, int]] = []
    try:
        for _, module, attribute, dimension, indices in mlp.cuts(kept):
            shown: Any = getattr(module, attribute)
            before.append((module, attribute, shown))
            cut = shown.detach().index_select(dimension, indices.to(shown.device))
            module._parameters[attribute] = nn.Parameter(cut, requires_grad=False)  # noqa: SLF001 - ties stay
            if isinstance(module, Conv1D) and attribute == "weight" and dimension == 1:
                sizes.append((module, "nf", module.nf))
                module.nf = cut.shape[1]
        yield
    finally:
        for module, attribute, shown in before:
            module._parameters[attribute] = shown  # noqa: SLF001 - the same
        for module, attribute, size in sizes:
            setattr(module, attribute, size)


_NEAR = 0.02  # of the outputs' norm: half precision rounds otherwise where sums are shorter


def check_wiring(mlp: Mlp, kept: Tensor, masked: Sequence[Tensor], cut: Sequence[Tensor]) -> None:
    """Refuse an MLP that computes something else without its channels than with zeros for them.

    Args:
        mlp: whose wiring was guessed.
        kept: its channels that stay.
        masked: outputs of the block where nothing reads the others.
        cut: outputs of the block where there are no others.

    Raises:
        WiringError: they differ.
    """
    for one, other in zip(masked, cut, strict=True):
        apart = float((one.float() - other.float()).norm())
        if not apart <= _NEAR * float(one.float().norm()):
            raise WiringError(
                f"{mlp.name}: with {len(kept)} of {mlp.width} channels it does not compute what it "
                "computes with zeros for the others; how they are connected is not understood"
            )
