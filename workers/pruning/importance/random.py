"""Random pruning: the floor under every other method."""

from typing import Any
from zlib import crc32

import torch

from workers.pruning.importance.criterion import Criterion
from workers.pruning.models.layout.structure import Matrix


class RandomCriterion(Criterion):
    """Uniform in [0, 1), the same for a matrix whatever else is pruned."""

    def __init__(self, seed: int) -> None:
        """Draw by `seed` and the matrix's name."""
        self._seed = seed

    def unseen_digest(self, matrix: Matrix) -> int:
        """Seed of one matrix."""
        return self._seed << 32 | crc32(matrix.name.encode())

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Float32, drawn on the CPU so that every device prunes the same weights."""
        generator = torch.Generator().manual_seed(digest)
        return torch.rand(weight.shape, generator=generator).to(weight.device)
