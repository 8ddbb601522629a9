"""Wanda (Sun et al., ICLR 2024, arXiv 2306.11695)."""

from typing import Any

import torch

from app.recipes.methods.wanda import Wanda
from workers.pruning.calibration.statistics import SquareSum
from workers.pruning.importance.criterion import Criterion


class WandaCriterion(Criterion):
    """|w_ij| * ||x_j||_2 (eq. 1), the norm taken per calibration sample."""

    importance = Wanda
    statistic = SquareSum

    def digest(self, statistic: Any) -> torch.Tensor:
        """Sqrt of the mean over samples of sum_tokens x_j^2: (in,), float32."""
        result: torch.Tensor = statistic.mean.sqrt().float()
        return result

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """|w_ij| * a_j in float32."""
        return weight.float().abs().mul_(digest)
