"""The least-squares problem of one matrix, with its inputs scaled to second moments of one.

H = sum x x^T / N over the inputs x, D = diag(sqrt(H_jj)), A = D^-1 H D^-1 + damping I. Tensors of
weights are (in, out) and scaled by D: D W^T, whose magnitude is Wanda's score. Inputs that are
always zero have weights of zero here.
"""

import torch
from torch import Tensor

from workers.pruning.calibration.statistics import Hessian


class ScaledProblem:
    """min tr (W - V) H (W - V)^T, damped towards W; float32."""

    def __init__(self, statistic: Hessian, damping: float) -> None:
        """Take the statistic of the inputs and the damping."""
        upper = statistic.mean.triu()
        moments = upper + upper.triu(1).T  # the statistic fills one half
        self._scale = moments.diagonal().sqrt().float()
        self._dead = self._scale == 0
        inverse = self._scale.masked_fill(self._dead, 1).reciprocal()
        self._inverse = inverse[:, None]
        self._moments = moments.float().mul_(inverse).mul_(self._inverse)
        self._damping = damping
        self._inverses: dict[float, Tensor] = {}

    def scaled(self, weight: Tensor) -> Tensor:
        """D W^T of (out, in)."""
        return weight.float().T.mul(self._scale[:, None])

    def unscaled(self, values: Tensor) -> Tensor:
        """(out, in) of values that were scaled."""
        return values.mul(self._inverse).T

    def errors(self, values: Tensor) -> Tensor:
        """Squared output of the scaled weights, per sample, for each output: (out,)."""
        return (values * (self._moments @ values)).sum(0)

    def times(self, values: Tensor) -> Tensor:
        """A V."""
        return (self._moments @ values).add_(values, alpha=self._damping)

    def inverse(self, more: float) -> Tensor:
        """(A + more I)^-1; kept, as matrices that share inputs ask for the same."""
        if more not in self._inverses:
            matrix = self._moments.clone()
            matrix.diagonal().add_(self._damping + more)
            self._inverses[more] = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        return self._inverses[more]
