"""Copies of a model's weights that stand in for them while they are trained."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from workers.pruning.models.layout.forwards import Forward, replaced
from workers.pruning.models.layout.structure import Matrix


class TrainedWeights:
    """What is left of the weights of some matrices, in float32; zeros stay zero.

    Attributes:
        values: of each matrix, (out, in); training writes to them.
    """

    def __init__(self, root: nn.Module, matrices: Sequence[Matrix]) -> None:
        """Copy them.

        Args:
            root: the block or model that is run while they are trained.
            matrices: those whose layers hold them as their whole weight, or in rows, are trained.
        """
        self._root = root
        self._layers = _layers(set(root.modules()), matrices)
        self.values = {m: m.fetch().float().clone() for each in self._layers.values() for m in each}
        self._gone = {matrix: weight == 0 for matrix, weight in self.values.items()}

    def copies(self) -> dict[Matrix, Tensor]:
        """The values as they are now."""
        return {matrix: weight.clone() for matrix, weight in self.values.items()}

    def set(self, values: Mapping[Matrix, Tensor]) -> None:
        """Write values to all of them."""
        for matrix, weight in self.values.items():
            weight.copy_(values[matrix])

    def hold_zeros(self) -> None:
        """Take from the gradients what would move a weight that went."""
        for matrix, weight in self.values.items():
            if weight.grad is not None:
                weight.grad.masked_fill_(self._gone[matrix], 0)

    def store(self) -> None:
        """Round the values, once, to what the model's own weights are stored in."""
        for matrix, values in self.values.items():
            weight = matrix.fetch()
            weight.copy_(values)
            weight.masked_fill_(self._gone[matrix], 0)
            matrix.put_back(weight)

    @contextmanager
    def standing_in(self, *, trained: bool) -> Iterator[None]:
        """Run the layers on the values; with gradients where they are trained."""
        layers = list(self._layers)
        own = [each for each in self._root.parameters() if each.requires_grad]
        for parameter in own:
            parameter.requires_grad_(False)  # norms and biases stay as they are
        for weight in self.values.values():
            weight.requires_grad_(trained)
        try:
            with replaced(layers, lambda at, _own: self._forward(layers[at])):
                yield
        finally:
            for weight in self.values.values():
                weight.requires_grad_(False)
            for parameter in own:
                parameter.requires_grad_(True)

    def _forward(self, layer: Any) -> Forward:
        parts = [self.values[matrix] for matrix in self._layers[layer]]

        def run(inputs: Tensor) -> Tensor:
            weight = parts[0] if len(parts) == 1 else torch.cat(parts)
            return functional.linear(inputs, weight.to(inputs.dtype), layer.bias)

        return run


def _layers(
    inside: Collection[nn.Module], matrices: Sequence[Matrix]
) -> dict[nn.Module, list[Matrix]]:
    """The linear layers whose weights are these matrices, in the order of their rows."""
    found: dict[nn.Module, list[Matrix]] = {}
    for matrix in matrices:
        [*callers] = matrix.callers
        if len(callers) != 1 or callers[0] not in inside or matrix.routed:
            continue
        if type(callers[0]) in {nn.Linear, Conv1D}:
            found.setdefault(callers[0], []).append(matrix)
    whole = {}
    for layer, parts in found.items():
        rows = sum(len(part.weight) for part in parts)
        contiguous = len(parts) == 1 or all(isinstance(p.place.rows, slice) for p in parts)
        if rows == (layer.nf if isinstance(layer, Conv1D) else layer.out_features) and contiguous:
            whole[layer] = sorted(parts, key=_first_row)
    return whole


def _first_row(matrix: Matrix) -> int:
    rows = matrix.place.rows
    return rows.start or 0 if isinstance(rows, slice) else 0
