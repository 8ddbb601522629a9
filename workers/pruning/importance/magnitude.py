"""Magnitude pruning (Han et al., NeurIPS 2015, arXiv 1506.02626)."""

from typing import Any

import torch

from workers.pruning.importance.criterion import Criterion


class MagnitudeCriterion(Criterion):
    """|w|."""

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """|w| as float32, exact for half precision too."""
        del digest
        return weight.float().abs()
