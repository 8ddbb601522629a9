"""RIA (Zhang et al., ICLR 2024, arXiv 2402.17946). Goes to `workers/pruning/importance/ria.py`."""

from typing import Any

import torch
from app.recipes.methods.ria import Ria

from workers.pruning.calibration.statistics import SquareSum
from workers.pruning.importance.criterion import Criterion


class RiaCriterion(Criterion):
    """(|w_ij| / sum_k |w_ik| + |w_ij| / sum_k |w_kj|) * ||x_j||^power."""

    importance = Ria
    statistic = SquareSum

    def digest(self, statistic: Any) -> torch.Tensor:
        """||x_j||^power, the norm taken per calibration sample: (in,), float32."""
        norm: torch.Tensor = statistic.mean.sqrt().float()
        return norm.pow(self.settings.power)

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """(out, in), float32; zero rows and columns score zero."""
        magnitude = weight.float().abs()
        tiny = torch.finfo(torch.float32).tiny
        rows = magnitude.sum(1, keepdim=True).clamp(min=tiny)
        columns = magnitude.sum(0).clamp(min=tiny)
        return (magnitude / rows + magnitude / columns).mul_(digest)
