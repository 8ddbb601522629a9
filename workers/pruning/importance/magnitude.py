"""Magnitude pruning (Han et al., NeurIPS 2015, arXiv 1506.02626)."""

from typing import Any

import torch

from app.recipes.methods.magnitude import Magnitude
from workers.pruning.importance.criterion import Criterion


class MagnitudeCriterion(Criterion):
    """|w|."""

    importance = Magnitude

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """|w| as float32, exact for half precision too."""
        del digest
        return weight.float().abs()
