"""SNIP (Lee et al., ICLR 2019, arXiv 1810.02340), in one stage or several."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.recipes.methods.snip import Snip
from workers.pruning.calibration.backward import Backward
from workers.pruning.importance.criterion import Criterion
from workers.pruning.importance.gradient import telling
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.selection import nonzero

_BELOW_ALL = 2.0**-100
_TINY = torch.finfo(torch.float32).tiny


class SnipCriterion(Criterion):
    """|g_ij w_ij|, g the gradient summed over the batches (eq. 4).

    The paper divides by the sum over the model, which changes no order. The gradients of all
    matrices are held at once, in float32; those beyond the limit on activations lie on disk. A zero
    weight goes first, so that in later stages of iterative SNIP (Verdenius et al., 2020,
    arXiv 2006.00896) what is pruned stays pruned.
    """

    importance = Snip

    def gradient_digests(
        self, backward: Backward, matrices: Sequence[Matrix], pruned: int
    ) -> Mapping[Matrix, Any]:
        """Summed gradients, (out, in), float32; none of a matrix where all are zero."""
        del pruned
        return telling(backward.sums(matrices))

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """|g w| in float32; without a gradient, magnitude far below all other scores."""
        gradient = _BELOW_ALL if digest is None else digest.to(weight.device)
        return weight.float().mul(gradient).abs_().clamp_(min=_TINY).mul_(nonzero(weight))
