"""A checkpoint as pruning sees it: towers -> blocks in execution order -> prunable matrices."""

from dataclasses import dataclass

import torch
from torch import nn

from app.recipes.modality import Modality


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
        rows: the slice of output rows, for one part of a split fused projection; else None.
        transposed: True where storage is (in, out): transformers' Conv1D.
        file_row: row of the file tensor where the parameter begins; above 0 where transformers
            splits one tensor of the files into several parameters.
        copies: further tensors of the files that hold the same weight (tied, saved twice).
    """

    name: str
    file_key: str
    modality: Modality
    parameter: nn.Parameter
    callers: tuple[nn.Module, ...]
    rows: slice | None = None
    transposed: bool = False
    file_row: int = 0
    copies: tuple[str, ...] = ()

    @property
    def weight(self) -> torch.Tensor:
        """View (out_features, in_features) on the parameter; writing to it changes the model."""
        return self.part_of(self.parameter.detach())

    def part_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """View (out_features, in_features) on a tensor laid out as the parameter: its gradient."""
        tensor = tensor.T if self.transposed else tensor
        return tensor if self.rows is None else tensor[self.rows]

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
