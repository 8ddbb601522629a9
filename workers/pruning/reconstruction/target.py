"""What the weights of a matrix shall come near to: its dense weights, or the dense model's outputs.

Weights that shall give in the pruned model, on its inputs x^, what W gives in the dense model, on
x, are V^T = R W^T, with R of `ScaledProblem.towards`; they pose the problem of `scaled` with V in
place of W.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.pruning.calibration.beside import PairedMoments
from workers.pruning.reconstruction.scaled import ScaledProblem

_ROWS = 1 << 11  # tokens held out that are shown at a time


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


class DenseModel:
    """Targets that look at the dense model, for matrices that share inputs.

    Held: R over all batches, and over those that are not held out, for each damping: (in, in)
    in float32.
    """

    def __init__(
        self,
        problem: ScaledProblem,
        statistic: PairedMoments,
        dampings: Sequence[float],
        *,
        mixed: bool,
    ) -> None:
        """Take the inputs of both models.

        Args:
            problem: of all batches.
            statistic: of the inputs.
            dampings: towards the dense weights, under which the dense model's outputs are sought.
            mixed: go as far as helps on batches held out, under the damping that helps most; else
                all the way, under the first.
        """
        self._problem = problem
        self._statistic = statistic
        self._dampings = dampings
        self._shown: dict[float, Tensor] | None = None
        self._whole: dict[float, Tensor] = {}
        if mixed:
            self._shown = self._over_shown() if statistic.held else {}

    def target(self, weight: Tensor) -> Target:
        """For dense weights, (out, in)."""
        problem, own = self._problem, self._problem.scaled(weight)
        share, damping = (1.0, self._dampings[0]) if self._shown is None else self._best(weight)
        if share:
            if damping not in self._whole:
                cross = self._statistic.cross_moments()
                self._whole[damping] = problem.towards(cross, damping)
            own.lerp_(problem.scaled((self._whole[damping] @ weight.float().T).T), share)
        return Target(own, share, damping if len(self._dampings) > 1 else None)

    def _over_shown(self) -> dict[float, Tensor]:
        moments, cross = self._statistic.shown()
        roots = moments.diagonal().sqrt()
        problem = ScaledProblem(moments, roots, self._dampings[0])
        *others, last = self._dampings
        found = {damping: problem.towards(cross.clone(), damping) for damping in others}
        return {**found, last: problem.towards(cross, last)}

    def _best(self, weight: Tensor) -> tuple[float, float]:
        """How far to go from the weights to the dense target, and under which damping.

        The target is sought in the batches shown, the share in those held out: there the error is
        quadratic in the share, so its least is known at once.
        """
        best = 0.0, self._dampings[0]
        if not self._shown:
            return best
        own = weight.float().T
        steps = [found @ own - own for found in self._shown.values()]
        sums = own.new_zeros((len(steps), 2), dtype=torch.float64)
        for pruned, dense in self._statistic.tokens_held_out():
            for start in range(0, len(pruned), _ROWS):
                inputs = pruned[start : start + _ROWS].float()
                missing = (dense[start : start + _ROWS].float() - inputs) @ own
                for step, found in zip(steps, sums, strict=True):
                    moved = inputs @ step
                    found[0] += torch.sum(moved * missing, dtype=torch.float64)
                    found[1] += torch.sum(moved.square_(), dtype=torch.float64)
        most = 0.0
        for damping, (along, length) in zip(self._shown, sums.tolist(), strict=True):
            share = min(1.0, max(0.0, along / length)) if length else 0.0
            gained = share * (2 * along - share * length)
            if gained > most:
                most, best = gained, (share, damping)
        return best
