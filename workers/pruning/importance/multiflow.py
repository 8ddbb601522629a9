"""Information flow of MULTIFLOW (Farina et al., CVPR 2024, arXiv 2404.05621)."""

from typing import Any

import torch

from app.recipes.methods.multiflow import Flow
from workers.pruning.calibration.statistics import SquareSum
from workers.pruning.importance.criterion import Criterion


class FlowCriterion(Criterion):
    """|w_ij| * O_i * I_j, with O_i = mean_k |w_ik| a_k and I_j = a_j mean_r |w_rj| (section 3).

    a_j is the root of the mean over samples of sum_tokens x_j^2. Only the order inside a matrix
    matters, so O and I are brought to a maximum of one: the scores are the paper's up to one
    factor per matrix, and the triple product of half-precision weights cannot vanish in float32.
    """

    importance = Flow
    statistic = SquareSum

    def digest(self, statistic: Any) -> torch.Tensor:
        """a: (in,), float32, its largest entry one."""
        return _relative(statistic.mean.sqrt()).float()

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Flow through every weight, relative to the matrix's largest O and I, in float32."""
        magnitude = weight.float().abs()
        neuron_out = _relative(magnitude @ digest)
        neuron_in = _relative(digest * magnitude.sum(0))
        return magnitude.mul_(neuron_out[:, None]).mul_(neuron_in)


def _relative(saliency: torch.Tensor) -> torch.Tensor:
    return saliency / saliency.max().clamp(min=torch.finfo(saliency.dtype).tiny)
