"""Magnitude on the scale of its own matrix: a baseline of MULTIFLOW (arXiv 2404.05621)."""

from typing import Any

import torch

from app.recipes.methods.l2_normalized import L2Normalized
from workers.pruning.importance.criterion import Criterion


class L2NormalizedCriterion(Criterion):
    """|w| / ||W||_F."""

    importance = L2Normalized

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Shares of the Frobenius norm, in float32; zero in a matrix of zeros."""
        del digest
        magnitude = weight.float().abs()
        norm = torch.linalg.vector_norm(magnitude, dtype=torch.float64).float()
        return magnitude.div_(norm.clamp(min=torch.finfo(torch.float32).tiny))
