"""LAMP (Lee et al., ICLR 2021, arXiv 2010.07611)."""

from typing import Any

import torch

from app.recipes.methods.lamp import Lamp
from workers.pruning.importance.criterion import Criterion


class LampCriterion(Criterion):
    """u_(i) / sum_{j >= i} u_(j), u the squared weights of the matrix in ascending order."""

    importance = Lamp

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Share of the squares that are still there when a weight's turn comes: float32, 0..1.

        The sums are float64. Among equal weights the lowest flat index comes first.
        """
        del digest
        squares, order = weight.double().square().flatten().sort(stable=True)
        left = _left(squares)
        scores = torch.empty_like(squares, dtype=torch.float32)
        scores[order] = (squares / left.clamp_(min=torch.finfo(torch.float64).tiny)).float()
        return scores.view(weight.shape)


def _left(squares: torch.Tensor) -> torch.Tensor:
    """Sum of each entry and all after it, in the same order each time."""
    if squares.device.type == "cpu":
        return squares.flip(0).cumsum(0).flip(0)
    reach = 1  # a GPU's scan of floats adds in any order: double what each sum reaches
    while reach < len(squares):
        further = squares[reach:] + squares[:-reach]
        squares = torch.cat([further, squares[-reach:]])
        reach *= 2
    return squares
