"""The least-squares problem of one matrix, with its inputs scaled to second moments of one.

H = sum x x^T / N over the inputs x, D = diag(sqrt(H_jj)), A = D^-1 H D^-1 + damping I. Tensors of
weights are (in, out) and scaled by D: D W^T, whose magnitude is Wanda's score. Inputs that are
always zero have weights of zero here.

Weights that shall give in the pruned model, on its inputs x^, what W gives in the dense model, on
x, pose the same problem with another target: A^-1 B with C = sum x^ x^T / N and
B = D^-1 C W^T + damping D W^T.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.recipes.reconstruction import Objective
from workers.pruning.calibration.beside import PairedMoments
from workers.pruning.calibration.statistics import Hessian, mirrored


class Target(NamedTuple):
    """What weights shall come near to.

    Attributes:
        values: scaled, (in, out).
        dense_share: how far they go from the dense weights to those that give in the pruned model
            what the dense model gave, 0 to 1; None where that was not asked.
        damping: under which those were sought; None where there was one alone.
    """

    values: Tensor
    dense_share: float | None
    damping: float | None


class ScaledProblem:
    """min tr (W - V) H (W - V)^T, damped towards W; float32.

    Attributes:
        damping: added to the second moments, which are scaled to one.
    """

    def __init__(self, statistic: Hessian, damping: float) -> None:
        """Take the statistic of the inputs and the damping."""
        mean = statistic.mean
        self._scale = mean.diagonal().sqrt().float()
        moments = mirrored(mean.float())
        del mean  # the largest of them all
        self._dead = self._scale == 0
        inverse = self._scale.masked_fill(self._dead, 1).reciprocal()
        self._inverse = inverse[:, None]
        self._moments = moments.mul_(inverse).mul_(self._inverse)
        self.damping = damping
        self._statistic = statistic
        self._inverses: dict[float, Tensor] = {}
        self._parts: tuple[ScaledProblem, ScaledProblem] | None = None

    def scaled(self, weight: Tensor) -> Tensor:
        """D W^T of (out, in)."""
        return weight.float().T.mul(self._scale[:, None])

    def unscaled(self, values: Tensor) -> Tensor:
        """(out, in) of values that were scaled."""
        return values.mul(self._inverse).T

    def target(self, weight: Tensor, objective: Objective, dampings: Sequence[float]) -> Target:
        """What the weights would best be without zeros.

        Args:
            weight: dense, (out, in).
            objective: see `app.recipes.reconstruction`. Where inputs of the dense model are not
                known, it is the dense weights all the same.
            dampings: towards the dense weights, under which the dense model's outputs are sought;
                `mixed` takes the best one, the others the first.
        """
        own, statistic = self.scaled(weight), self._statistic
        if objective == "pruned-inputs":
            return Target(own, None, None)
        share, damping = 0.0, dampings[0]
        if (
            isinstance(statistic, PairedMoments)
            and statistic.paired
            and statistic.cross is not None
        ):
            share = 1.0
            if objective == "mixed":
                share, damping = self._best(weight, dampings)
        if share:
            own.lerp_(self.towards_dense(weight, damping), share)
        return Target(own, share, damping if len(dampings) > 1 else None)

    def towards_dense(self, weight: Tensor, damping: float) -> Tensor:
        """The weights that come nearest to the dense model's outputs."""
        return self.inverse(damping - self.damping) @ self.right(weight, damping)

    def right(self, weight: Tensor, damping: float) -> Tensor:
        """B, (in, out)."""
        statistic: Any = self._statistic
        samples = max(statistic.samples, 1)
        cross: Tensor = (statistic.cross / samples).float().mul_(self._inverse)
        return (cross @ weight.float().T).add_(self.scaled(weight), alpha=damping)

    def _best(self, weight: Tensor, dampings: Sequence[float]) -> tuple[float, float]:
        """How far to go from the weights to the dense target, and under which damping.

        The target is sought in some batches, the share in those held out: there the error is
        quadratic in the share, so its least is known at once.
        """
        statistic: Any = self._statistic
        if statistic.held is None:
            return 0.0, dampings[0]
        if self._parts is None:  # matrices that share inputs share them
            shown = ScaledProblem(statistic.without_held(), self.damping)
            self._parts = shown, ScaledProblem(statistic.held, 0)
        others, held = self._parts
        own = weight.float().T
        slope = held.right(weight, 0) - held.times(held.scaled(weight))
        most, best = 0.0, (0.0, dampings[0])
        for damping in dampings:
            step = others.unscaled(others.towards_dense(weight, damping)).T - own
            scaled = held.scaled(step.T)
            along = float((scaled * slope).sum())
            length = float((scaled * held.times(scaled)).sum())
            share = min(1.0, max(0.0, along / length)) if length else 0.0
            gained = share * (2 * along - share * length)
            if gained > most:
                most, best = gained, (share, damping)
        return best

    def errors(self, values: Tensor) -> Tensor:
        """Squared output of the scaled weights, per sample, for each output: (out,)."""
        return (values * (self._moments @ values)).sum(0)

    def times(self, values: Tensor) -> Tensor:
        """A V."""
        return (self._moments @ values).add_(values, alpha=self.damping)

    def inverse(self, more: float) -> Tensor:
        """(A + more I)^-1; kept, as matrices that share inputs ask for the same."""
        if more not in self._inverses:
            matrix = self._moments.clone()
            matrix.diagonal().add_(self.damping + more)
            factor = torch.linalg.cholesky(matrix)
            del matrix  # before the inverse is made
            self._inverses[more] = torch.cholesky_inverse(factor)
        return self._inverses[more]
