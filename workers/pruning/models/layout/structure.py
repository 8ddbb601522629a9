"""A checkpoint as pruning sees it: towers -> blocks in execution order -> prunable matrices."""

from dataclasses import dataclass

import torch
from torch import nn

from app.recipes.modality import Modality
from workers.pruning.memory import fetched, put_back


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where a matrix (out_features, in_features) lies in a tensor.

    Attributes:
        expert: which expert, and of how many: the tensor holds one after the other along its first
            dimension. None where it holds no experts.
        transposed: True where storage is (in, out): transformers' Conv1D, some experts.
        rows: the output rows of the matrix, in its order; None for all.
    """

    expert: tuple[int, int] | None = None
    transposed: bool = False
    rows: slice | torch.Tensor | None = None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The matrix in a tensor; a view, unless its rows are named one by one."""
        if self.expert is not None:
            index, count = self.expert
            packed = tensor if tensor.ndim > 2 else tensor.view(count, -1, tensor.shape[-1])  # noqa: PLR2004
            tensor = packed[index]
        tensor = tensor.T if self.transposed else tensor
        return tensor if self.rows is None else tensor[self.rows]

    def put(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Write the matrix into a tensor."""
        rows = View(self.expert, self.transposed).of(tensor)
        rows[slice(None) if self.rows is None else self.rows] = values


WHOLE = View()


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One prunable weight, always seen as (out_features, in_features).

    Attributes:
        name: module path of the first caller; a split fused projection appends `[q]`, `[k]`, `[v]`.
        file_key: name of the tensor in the safetensors files (may differ from the module path).
        modality: the part of the model it serves.
        parameter: the stored parameter, in its own layout and dtype.
        callers: every module that multiplies by it (more than one when weights are tied). Empty
            when no input can be observed (packed attention): such a matrix has no statistics.
        place: where in the parameter it lies.
        file_row: row of the file tensor where the parameter begins; above 0 where transformers
            splits one tensor of the files into several parameters.
        copies: further tensors of the files that hold the same weight (tied, saved twice).
        source: the tensor of the files, and the place there, where the parameter is put together
            from several or differs in layout; else None, and the parameter is that tensor.
        shown: what the model computes with in place of the parameter: a `Converted`; None where it
            is the parameter itself.
    """

    name: str
    file_key: str
    modality: Modality
    parameter: nn.Parameter
    callers: tuple[nn.Module, ...]
    place: View = WHOLE
    file_row: int = 0
    copies: tuple[str, ...] = ()
    source: tuple[torch.Tensor, View] | None = None
    shown: nn.Parameter | None = None

    @property
    def stored(self) -> torch.Tensor:
        """The tensor that its values lie in, laid out as in the files."""
        return self.parameter.detach() if self.source is None else self.source[0]

    @property
    def weight(self) -> torch.Tensor:
        """View (out_features, in_features) on what is stored; writing to it changes the model."""
        return (self.place if self.source is None else self.source[1]).of(self.stored)

    @property
    def device(self) -> torch.device:
        """Where the model computes with it."""
        return (self.parameter if self.shown is None else self.shown).device

    def fetch(self) -> torch.Tensor:
        """(out_features, in_features) where the model computes, to read or to change in place."""
        if self.source is not None:
            return self.weight.to(self.device)
        return self.part_of(fetched(self.parameter if self.shown is None else self.shown))

    def put_back(self, weight: torch.Tensor) -> None:
        """Store what was written to the fetched weight."""
        if self.shown is not None:
            put_back(self.shown, self.weight, weight)

    def part_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """(out_features, in_features) of a tensor laid out as the parameter: its gradient."""
        return self.place.of(tensor)

    @property
    def routed(self) -> bool:
        """Whether it belongs to an expert, which sees the tokens routed to it alone."""
        return self.place.expert is not None

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.weight.numel()


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One transformer block: the unit of the sequential pass, of resume and of ECoFLaP's groups."""

    name: str
    module: nn.Module
    matrices: tuple[Matrix, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    """A stack of blocks that pass hidden states on; towers are listed in execution order.

    Attributes:
        name: module path of the stack.
        modality: the part of the model it serves.
        blocks: in execution order.
        feeds: indices of the blocks whose output is read by anything but the next block. Cached,
            they replace running the tower again for the towers after it. Empty when unknown.
        passes: how often one forward of the model runs through the tower; None when unknown.
        mask: name of the batch entry (batch, tokens) that marks real tokens; None when the tower
            sees no padding.
        source_mask: the same for the encoder states its cross-attention reads.
        guessed: the two were guessed: where neither has the length of what a block sees, the masks
            that the model hands to its blocks tell.
    """

    name: str
    modality: Modality
    blocks: tuple[Block, ...]
    feeds: tuple[int, ...] = ()
    passes: int | None = None
    mask: str | None = None
    source_mask: str | None = None
    guessed: bool = False
