"""Least squares on a given mask, by conjugate gradients over all outputs of a matrix at once.

With H = sum x x^T / N over the inputs x of a matrix W (out, in), the weights V that stay minimise
tr (W - V) H (W - V)^T with V = V * M. Every output row is a problem of its own, with other columns
and the same H: too many to factorise, so all rows take conjugate gradient steps together, residual
and direction restricted by the mask. The scaling of the inputs is the preconditioner.
(Boža, TMLR 2024, arXiv 2401.02938, poses the problem; the solver is textbook.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.recipes.reconstruction import LeastSquares
from workers.pruning.calibration.beside import PairedMoments
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.reconstruction.scaled import ScaledProblem
from workers.pruning.reconstruction.target import DenseModel, Target
from workers.pruning.selection.selection import zero

_SETTLED = 1e-4  # a step that takes so small a share of the error is the last


@dataclass(frozen=True, slots=True)
class Solution:
    """What solving came to.

    Attributes:
        error: squared distance from the target's outputs per calibration sample.
        energy: squared outputs of the target per calibration sample.
    """

    error: float
    energy: float

    @property
    def relative(self) -> float:
        """The error as a share of the energy."""
        return self.error / self.energy if self.energy else 0.0


class LeastSquaresSolver:
    """Solves for the weights of one matrix after the other; what shares inputs shares a matrix A.

    Held: A in float32, (in, in), five tensors of the matrix's size, and what `DenseModel` holds
    where the objective looks at that.
    """

    def __init__(self, settings: LeastSquares) -> None:
        """Take the recipe's settings."""
        self._settings = settings
        self._latest: tuple[Hessian, ScaledProblem, DenseModel | None] | None = None

    def target(self, dense: Tensor, statistic: Hessian) -> Target:
        """What the weights of a matrix shall come near to, by the objective of the settings.

        Where inputs of the dense model are not known, its dense weights all the same.

        Args:
            dense: the weights before, (out, in).
            statistic: of the inputs of the matrix.
        """
        _, problem, model = self._known(statistic)
        if model is not None:
            return model.target(dense)
        asked = self._settings.objective != "pruned-inputs"
        return Target(problem.scaled(dense), 0.0 if asked else None, None)

    def solve(self, weight: Tensor, target: Tensor, mask: Tensor, statistic: Hessian) -> Solution:
        """Solve for the weights that stay, in place; a row that would get worse stays as it is.

        Args:
            weight: as pruning left it, (out, in), zero where the mask is.
            target: scaled, (in, out).
            mask: True where a weight went, (out, in).
            statistic: of the inputs of the matrix.
        """
        problem = self.problem(statistic)
        start = problem.scaled(weight)
        found, before = minimum(problem, start, target, ~mask.T, self._settings.steps)
        stored = problem.unscaled(found, weight)
        zero(stored, mask)
        after = problem.errors(target - problem.scaled(stored))
        better = after < before
        weight[better] = stored[better]  # the others to the bit
        return Solution(
            float(torch.minimum(before, after).sum()), float(problem.errors(target).sum())
        )

    def problem(self, statistic: Hessian) -> ScaledProblem:
        """The problem that the statistic poses."""
        return self._known(statistic)[1]

    def _known(self, statistic: Hessian) -> tuple[Hessian, ScaledProblem, DenseModel | None]:
        """What is known of the inputs; the latest one is kept."""
        if self._latest is None or self._latest[0] is not statistic:
            self._latest = None  # freed before the next is made
            self._latest = statistic, *self._posed(statistic)
        return self._latest

    def _posed(self, statistic: Hessian) -> tuple[ScaledProblem, DenseModel | None]:
        settings = self._settings
        problem = ScaledProblem(statistic.moments(), statistic.roots(), settings.damping)
        if settings.objective == "pruned-inputs":
            return problem, None
        if not isinstance(statistic, PairedMoments) or not statistic.complete:
            return problem, None
        dampings = settings.damping, *settings.target_dampings
        mixed = settings.objective == "mixed"
        return problem, DenseModel(problem, statistic, dampings, mixed=mixed)


def minimum(
    problem: ScaledProblem, start: Tensor, target: Tensor, kept: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """What minimises |target - values|^2 in the damped second moments, from `start` on.

    Ends when a step takes little of the error away; an output that is done moves no more.

    Returns:
        The values, and the errors at the start as `ScaledProblem.errors` has them.
    """
    values, away, moving = start.clone(), target - start, kept.float()
    residual = problem.times(away)
    damped = torch.linalg.vecdot(away, residual, dim=0)
    before = damped - problem.damping * torch.linalg.vecdot(away, away, dim=0)
    before.clamp_(min=0)  # as `errors` is
    error = damped.sum()
    del away
    residual.mul_(moving)
    direction = residual.clone()
    norms = torch.linalg.vecdot(residual, residual, dim=0)
    for _ in range(steps):
        along = problem.times(direction).mul_(moving)
        length = _ratio(norms, torch.linalg.vecdot(direction, along, dim=0))
        values.addcmul_(direction, length.expand_as(direction))
        taken = torch.dot(length, norms)
        error -= taken
        if bool(taken <= _SETTLED * error):
            break
        residual.addcmul_(along, length.expand_as(along), value=-1)
        following = torch.linalg.vecdot(residual, residual, dim=0)
        direction.mul_(_ratio(following, norms)).add_(residual)
        norms = following
    return values, before


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Zero where the denominator is: nothing is left to do there."""
    done = denominator <= torch.finfo(torch.float32).tiny
    return (numerator / denominator.masked_fill(done, 1)).masked_fill(done, 0)
