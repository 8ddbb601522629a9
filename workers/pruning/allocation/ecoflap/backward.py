"""Scores from one backward pass per batch; every gradient becomes a number and is freed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix

Reduce: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A matrix (out, in) and its gradient -> a score, float64."""

_CHUNK = 1 << 18


class BackwardEstimator:
    """Reduces every matrix's gradient.

    The official first-order scores are sums over the entries of |W| times the mean of |g| over
    batches. A sum and a mean swap places, so one number per batch is enough where the official
    code keeps a second copy of the weights.
    """

    def __init__(self, adapter: Adapter, reduce: Reduce) -> None:
        self._adapter = adapter
        self._reduce = reduce

    def scores(
        self,
        index: int,
        batch: Batch,
        matrices: Sequence[Matrix],
        tick: Callable[[int, Matrix], None],
    ) -> Mapping[Matrix, float]:
        """Score of every matrix the loss depends on."""
        found: dict[Matrix, float] = {}

        def take(matrix: Matrix, gradient: Tensor) -> None:
            with torch.no_grad():
                found[matrix] = float(self._reduce(matrix.fetch(), gradient))

        each_gradient(self._adapter, batch, matrices, take)
        tick(index, matrices[-1])
        return found


def norm(weight: Tensor, gradient: Tensor) -> Tensor:
    """||g||_F."""
    del weight
    return _sum(lambda g: torch.dot(g, g), gradient).sqrt()


SUMS: Mapping[str, Reduce] = {
    "magnitude": lambda w, g: _sum(lambda g, w: (g * w).abs_().sum(), g, w),
    "squared": lambda w, g: _sum(lambda g, w: (g * w).square_().sum(), g, w),
    "gradient": lambda _w, g: _sum(lambda g: g.abs().sum(), g),
}


def _sum(term: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Sum of `term` over flat float32 chunks of the tensors; chunks are added in float64."""
    total = torch.zeros((), dtype=torch.float64, device=tensors[0].device)
    for parts in zip(*(torch.split(t.reshape(-1), _CHUNK) for t in tensors), strict=True):
        total += term(*(part.float() for part in parts))
    return total
