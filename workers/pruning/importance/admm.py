"""Mask and weights of a matrix together, by the alternating direction method of multipliers.

Boža, TMLR 2024, arXiv 2401.02938, with the growing sparsity of its section on gradual pruning; the
same problem as ALPS (Meng et al., NeurIPS 2024, arXiv 2406.07831). With the scaled problem A of
`reconstruction.scaled`, T = D W^T (or another target) and Q = (A + penalty I)^-1, each round sets

    Z = V + U without its smallest entries, as many as the round allows
    U = U + V - Z
    V = Q (A T + penalty (Z - U)) = T + penalty Q (Z - U - T)

In round k of K the share that goes is t (1 - (1 - k/K)^3); an n:m pattern is whole from the first.
Then the mask is final, and the weights on it are solved for by least squares.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from app.recipes.methods.admm import Admm
from app.recipes.pattern import NM
from app.recipes.reconstruction import LeastSquares
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.importance.criterion import Criterion, Outcome
from workers.pruning.reconstruction.least_squares import LeastSquaresSolver
from workers.pruning.reconstruction.scaled import ScaledProblem
from workers.pruning.selection.selection import Selection, check_finite, zero


class AdmmCriterion(Criterion):
    """|w_ij| * sqrt(H_jj) where weights are ranked before they are solved for.

    Held: two matrices (in, in) and seven tensors of the matrix's size, in float32.
    """

    importance = Admm
    statistic = Hessian

    def __init__(self, settings: Admm, seed: int = 0) -> None:
        """Take the recipe's settings."""
        super().__init__(settings, seed)
        self._solver = LeastSquaresSolver(
            LeastSquares(
                objective=settings.objective,
                target_dampings=settings.target_dampings,
                damping=settings.damping,
                steps=settings.steps,
            )
        )

    def digest(self, statistic: Any) -> Tensor:
        """Roots of the mean squares: (in,), float32."""
        roots: Tensor = statistic.roots()
        return roots

    def scores(self, weight: Tensor, digest: Any) -> Tensor:
        """|w| * sqrt(H_jj) in float32."""
        return weight.float().abs().mul(digest)

    def prune(self, weight: Tensor, statistic: Any, selection: Selection) -> Outcome:
        """Choose and solve, in place.

        Raises:
            NonFiniteError: a weight or a sum is NaN or infinite; the weights stay as they are.
        """
        problem = self._solver.problem(statistic)
        target, dense_share, damping = self._solver.target(weight, statistic)
        check_finite(target)
        mask, values = self._mask(problem, target, selection)
        weight.copy_(problem.unscaled(values, weight))
        zero(weight, mask)
        del values
        total, gone = _scores(target, mask)
        solution = self._solver.solve(weight, target, mask, statistic)
        return Outcome(
            mask,
            mean_score=total / weight.numel(),
            lost_score=gone / total if total else 0.0,
            error=solution.error,
            relative_error=solution.relative,
            dense_share=dense_share,
            target_damping=damping,
        )

    def _mask(
        self, problem: ScaledProblem, target: Tensor, selection: Selection
    ) -> tuple[Tensor, Tensor]:
        """True where a weight goes, (out, in), and what the others have come to, scaled."""
        penalty: float = self.settings.penalty
        inverse = problem.inverse(penalty)
        values, multipliers = target.clone(), torch.zeros_like(target)
        rounds: int = self.settings.rounds
        for number in range(1, rounds + 1):
            multipliers.add_(values)  # V + U
            mask = _of_round(selection, number / rounds).mask(multipliers.abs().T.contiguous())
            kept = multipliers.clone()
            zero(kept, mask.T.contiguous())
            if number == rounds:
                return mask, kept
            multipliers.sub_(kept)
            away = kept.sub_(multipliers).sub_(target)
            values = torch.addmm(target, inverse, away, alpha=penalty)
        raise AssertionError("there is one round at least")


def _scores(target: Tensor, mask: Tensor) -> tuple[float, float]:
    """Their sum, and that of those that go."""
    scores = target.abs().T
    return float(scores.sum()), float((scores * mask).sum())


def _of_round(selection: Selection, done: float) -> Selection:
    """What goes after a share of the rounds."""
    if isinstance(selection.pattern, NM) or done == 1:
        return selection
    return replace(selection, count=int(selection.count * (1 - (1 - done) ** 3)))
