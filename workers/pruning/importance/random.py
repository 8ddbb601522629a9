"""Random pruning: the floor under every other method."""

from typing import Any
from zlib import crc32

import torch

from app.recipes.methods.random import Random
from workers.pruning.importance.criterion import Criterion
from workers.pruning.models.layout.structure import Matrix


class RandomCriterion(Criterion):
    """Uniform in [0, 1) by seed and name: the same for a matrix whatever else is pruned."""

    importance = Random

    def unseen_digest(self, matrix: Matrix) -> int:
        """Seed of one matrix."""
        return self.seed << 32 | crc32(matrix.name.encode())

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Float32, drawn on the CPU so that every device prunes the same weights."""
        generator = torch.Generator().manual_seed(digest)
        return torch.rand(weight.shape, generator=generator).to(weight.device)
