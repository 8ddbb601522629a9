"""CHITA and CHITA++ (Benbaki et al., ICML 2023, arXiv 2302.14623).

With w the P weights, A (n, P) the gradients of n batches as rows, alpha their sum divided by the
samples of a batch and lambda2 = n * damping / 2, the pruned weights beta with k of them non-zero
minimise

    F(beta) = |A (w - beta)|^2 / 2 + lambda2 |beta - w|^2 + alpha . beta

approximately: one line search along the gradient for all weights (`global_step`) says how many
weights each part keeps; a line search for each part of 10^4 weights which ones; then the minimum
over these is exact. A is never whole: the global search reduces each gradient as it comes, the
parts want the rows of one transformer block at a time.

Held beside the model, over the p pruned weights: 4 p bytes of alpha and the new weights (p in the
stored dtype), on disk where they are beyond the limit on activations; and in memory 4 n bytes for
each weight of the largest block.
Time: two or three backward passes over the batches, and one more for each block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.recipes.methods.chita import Chita
from app.recipes.pattern import NM
from workers.pruning.calibration.backward import Backward
from workers.pruning.importance.criterion import Criterion, Outcome, outcome
from workers.pruning.importance.gradient import telling
from workers.pruning.importance.quadratic import TRIALS, Quadratic, shortened
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.kth import kth_smallest
from workers.pruning.selection.selection import Selection, nonzero

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the global line search left one matrix.

    Attributes:
        alpha: gradient of F at beta = w, zero at weights that are pruned already; (out, in).
        step: how far the weights are moved against it.
        ranked: whether the weights are ranked after the move, or as they were.
    """

    alpha: Tensor
    step: float
    ranked: bool


class ChitaCriterion(Criterion):
    """Ranks by |w - step * alpha|, then solves for the weights that stay."""

    importance = Chita

    def gradient_digests(
        self, backward: Backward, matrices: Sequence[Matrix], pruned: int
    ) -> Mapping[Matrix, Moved]:
        """The global line search; a matrix without gradient has an alpha of zero."""
        found = telling(backward.sums(matrices, per_sample=True))
        alphas = {m: found.get(m, torch.zeros(m.weight.shape)) for m in matrices}
        for matrix, alpha in alphas.items():
            alpha.mul_(nonzero(matrix.fetch()).to(alpha.device))
        search = _GlobalSearch(backward, alphas, pruned, self._ridge(len(backward.batches)))
        step, ranked = search.step() if pruned else (0.0, False)
        return {matrix: Moved(alpha, step, ranked) for matrix, alpha in alphas.items()}

    def scores(self, weight: Tensor, digest: Any) -> Tensor:
        """|w| or |w - step * alpha| in float32; zero where a weight is pruned already."""
        step = digest.step if digest.ranked else 0.0
        return _moved(weight, digest.alpha, step).abs_().clamp_(min=_TINY).mul_(nonzero(weight))

    def solve(
        self, weight: Tensor, rows: Tensor, digest: Moved, selection: Selection
    ) -> tuple[Tensor, Outcome]:
        """The pruned and updated (out, in) weights, and what that came to; `weight` stays as it is.

        Under a row or N:M pattern the choice made by rank stays, and only the weights are updated.

        Args:
            weight: (out, in).
            rows: gradients at these weights, (batches, out * in).
            digest: from the global line search.
            selection: the matrix's budget.

        Raises:
            NonFiniteError: a score is NaN or infinite.
        """
        scores = self.scores(weight, digest)
        kept = ~selection.mask(scores).reshape(-1)
        free = not isinstance(selection.pattern, NM) and selection.pattern.group == "matrix"
        ridge = self._ridge(len(rows))
        dense, alpha = (
            weight.reshape(-1).double(),
            digest.alpha.to(weight.device).reshape(-1).double(),
        )
        solved = torch.zeros_like(dense)
        for low in range(0, len(dense), self.settings.block_size):
            part = slice(low, low + self.settings.block_size)
            support = kept[part]
            if not support.any():
                continue
            live = rows[:, part].double() * (dense[part] != 0)
            problem = Quadratic(live, dense[part], alpha[part], ridge)
            if free:
                start = (dense[part] - digest.step * alpha[part]) * support
                support = problem.search(start, support)
            solved[part] = problem.minimum(support)
        result = solved.view(weight.shape).to(weight.dtype)
        return result, outcome(scores, result == 0)

    def _ridge(self, batches: int) -> float:
        damping: float = self.settings.damping
        return batches * damping / 2


class _GlobalSearch:
    """The line search from beta = w over all weights; only n numbers of A are held."""

    def __init__(
        self, backward: Backward, alphas: Mapping[Matrix, Tensor], pruned: int, ridge: float
    ) -> None:
        self._backward = backward
        self._alphas = alphas
        self._pruned = pruned
        self._ridge = ridge

    def step(self) -> tuple[float, bool]:
        """Length of the step, and whether weights are to be ranked after it or before it."""
        threshold = self._threshold(0.0)

        def support(matrix: Matrix) -> Tensor:
            return matrix.fetch().abs().float() > threshold

        def inner(matrix: Matrix) -> Tensor:
            return self._alphas[matrix].to(matrix.device) * support(matrix)

        squared = sum(float(inner(m).double().square().sum()) for m in self._alphas)
        if not squared:
            return 0.0, False
        image = self._images([inner])[:, 0]
        exact = squared / (float(image.square().sum()) + 2 * self._ridge * squared)

        def leads(step: float) -> bool:
            inside = outside = 0.0
            for matrix, alpha in self._alphas.items():
                moved = _moved(matrix.fetch(), alpha, step).abs_()
                inside = max(inside, float((moved * support(matrix)).max()))
                outside = max(outside, float((moved * ~support(matrix)).max()))
            return inside >= outside

        return (exact, False) if leads(exact) else self._best(shortened(exact, leads))

    def _best(self, shortest: float) -> tuple[float, bool]:
        """The longest of the doubled steps up to which F falls, all tried in one pass."""
        steps = [0.0, *(shortest * 2**trial for trial in range(TRIALS))]
        thresholds = [self._threshold(step) for step in steps]

        def beta(matrix: Matrix, trial: int) -> Tensor:
            moved = _moved(matrix.fetch(), self._alphas[matrix], steps[trial])
            return moved.mul_(moved.abs() > thresholds[trial])

        def away(trial: int) -> Callable[[Matrix], Tensor]:
            return lambda matrix: matrix.fetch().float() - beta(matrix, trial)

        images = self._images([away(trial) for trial in range(len(steps))])
        values = images.square().sum(0) / 2
        for trial in range(len(steps)):
            for matrix, alpha in self._alphas.items():
                moved, beyond = beta(matrix, trial), away(trial)(matrix).double()
                values[trial] += float(self._ridge * beyond.square().sum())
                values[trial] += float((alpha.to(moved.device).double() * moved).sum())
        taken = 0
        while taken + 1 < len(steps) and values[taken + 1] < values[taken]:
            taken += 1
        return steps[taken], taken > 0

    def _images(self, directions: Sequence[Callable[[Matrix], Tensor]]) -> Tensor:
        """A times each direction: (batches, directions), float64."""
        result = torch.zeros(len(self._backward.batches), len(directions), dtype=torch.float64)

        def project(number: int, matrix: Matrix, gradient: Tensor) -> None:
            live = gradient.float() * nonzero(matrix.fetch())
            for index, direction in enumerate(directions):
                result[number, index] += float((live * direction(matrix)).sum(dtype=torch.float64))

        self._backward.each(self._alphas, project)
        return result

    def _threshold(self, step: float) -> float:
        """Largest magnitude that goes when the weights are moved so far."""

        def magnitudes(matrix: Matrix, alpha: Tensor) -> Callable[[], Tensor]:
            return lambda: _moved(matrix.fetch(), alpha, step).abs_()

        pool = [magnitudes(m, a) for m, a in self._alphas.items()]
        return kth_smallest(pool, self._pruned, [matrix.name for matrix in self._alphas])


def _moved(weight: Tensor, alpha: Tensor, step: float) -> Tensor:
    return weight.float() - step * alpha.to(weight.device)
