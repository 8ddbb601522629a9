"""The least-squares problem of one matrix, with its inputs scaled to second moments of one.

H = sum x x^T / N over the inputs x, D = diag(sqrt(H_jj)), A = D^-1 H D^-1 + damping I. Tensors of
weights are (in, out) and scaled by D: D W^T, whose magnitude is Wanda's score. Inputs that are
always zero have weights of zero here, and say nothing of the weights they have elsewhere.
"""

import torch
from torch import Tensor

from workers.pruning.calibration.statistics import mirrored


class ScaledProblem:
    """min tr (W - V) H (W - V)^T, damped towards W; float32.

    Attributes:
        damping: added to the second moments, which are scaled to one.
    """

    def __init__(self, moments: Tensor, roots: Tensor, damping: float) -> None:
        """Take what is known of the inputs.

        Args:
            moments: H, (in, in), float32, of which the upper triangle is right; it is worked on.
            roots: of the mean squares of the inputs, (in,), float32.
            damping: see above.
        """
        dead = roots == 0
        self._scale = roots
        self._dead = dead.nonzero().flatten()
        inverse = roots.masked_fill(dead, 1).reciprocal()
        self._inverse = inverse[:, None]
        self._moments = mirrored(moments).mul_(inverse).mul_(self._inverse)
        self.damping = damping
        self._inverses: dict[float, Tensor] = {}

    def scaled(self, weight: Tensor) -> Tensor:
        """D W^T of (out, in)."""
        return weight.float().T.mul(self._scale[:, None])

    def unscaled(self, values: Tensor, weight: Tensor) -> Tensor:
        """(out, in) of values that were scaled, as the weight is stored.

        Of inputs that are always zero, the weight's own. What a float16 cannot hold is cut.
        """
        most = torch.finfo(weight.dtype).max
        found = values.mul(self._inverse).clamp_(-most, most).T.to(weight.dtype)
        found[:, self._dead] = weight[:, self._dead]
        return found

    def errors(self, values: Tensor) -> Tensor:
        """Squared output of the scaled weights, per sample, for each output: (out,)."""
        # Rounding may leave what is nearly zero below zero.
        return (values * (self._moments @ values)).sum(0).clamp_(min=0)

    def times(self, values: Tensor) -> Tensor:
        """A V."""
        return (self._moments @ values).add_(values, alpha=self.damping)

    def inverse(self, more: float) -> Tensor:
        """(A + more I)^-1; kept, as matrices that share inputs ask for the same."""
        if more not in self._inverses:
            self._inverses[more] = torch.cholesky_inverse(self._factor(self.damping + more))
        return self._inverses[more]

    def towards(self, cross: Tensor, damping: float) -> Tensor:
        """R with which R W^T comes nearest to the dense model's outputs: (in, in).

        R = D^-1 (D^-1 H D^-1 + damping I)^-1 (D^-1 C + damping D).

        Args:
            cross: C, (in, in), float32; it is worked on.
            damping: towards the dense weights.
        """
        right = cross.mul_(self._inverse)
        right.diagonal().add_(self._scale, alpha=damping)
        solved: Tensor = torch.cholesky_solve(right, self._factor(damping))
        return solved.mul_(self._inverse)

    def _factor(self, damping: float) -> Tensor:
        """L L^T = D^-1 H D^-1 + damping I."""
        matrix = self._moments.clone()
        matrix.diagonal().add_(damping)
        factor: Tensor = torch.linalg.cholesky(matrix)
        return factor
