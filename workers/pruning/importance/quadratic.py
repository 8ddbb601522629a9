"""The small quadratic problem of CHITA (Benbaki et al., ICML 2023, arXiv 2302.14623, section 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TRIALS = 10
_HALVINGS = 100
_SLACK = 1e-10


@dataclass(frozen=True, slots=True)
class Quadratic:
    """F(beta) = |A (w - beta)|^2 / 2 + ridge |beta - w|^2 + alpha . beta over p weights.

    Attributes:
        rows: A, (n, p) float64.
        dense: w, (p,) float64.
        alpha: (p,) float64.
        ridge: lambda2.
    """

    rows: Tensor
    dense: Tensor
    alpha: Tensor
    ridge: float

    def __call__(self, beta: Tensor) -> float:
        """F(beta)."""
        away = self.dense - beta
        fit = (self.rows @ away).square().sum() / 2
        return float(fit + self.ridge * away.square().sum() + self.alpha @ beta)

    def search(self, start: Tensor, support: Tensor) -> Tensor:
        """The support after one projected gradient step; as many weights as before.

        The step that is exact while the support stays is taken where the largest weight is then
        still inside. Otherwise shorter ones are doubled while F falls, up to `TRIALS` times; where
        none lowers F, the support stays.

        Args:
            start: beta, (p,), zero outside the support.
            support: bool (p,), not empty.
        """
        away = start - self.dense
        gradient = self.alpha + self.rows.T @ (self.rows @ away) + 2 * self.ridge * away
        inner = gradient * support
        squared = inner.square().sum()
        if not squared or bool(support.all()):
            return support

        def leads(step: float) -> bool:
            moved = (start - step * gradient).abs()
            return bool(moved[support].max() >= moved[~support].max() - _SLACK)

        exact = squared / ((self.rows @ inner).square().sum() + 2 * self.ridge * squared)
        step = float(exact)
        if leads(step):
            return support
        kept, best, lowest = int(support.sum()), support, self(start)
        step = shortened(step, leads)
        for _ in range(TRIALS):
            moved = start - step * gradient
            chosen = _largest(moved, kept)
            value = self(moved * chosen)
            if value >= lowest:
                break
            best, lowest = chosen, value
            step *= 2
        return best

    def minimum(self, support: Tensor) -> Tensor:
        """What minimises F with the support given: (p,), zero outside (section 3.3).

        beta_S = (A_S^T A_S + 2 ridge)^-1 (A_S^T A w + 2 ridge w_S - alpha_S), by the Woodbury
        identity where there are fewer rows than weights.
        """
        rows, twice = self.rows[:, support], 2 * self.ridge
        count, kept = rows.shape
        right = rows.T @ (self.rows @ self.dense)
        right += twice * self.dense[support] - self.alpha[support]
        core = rows @ rows.T if count < kept else rows.T @ rows
        core.diagonal().add_(twice)
        if count < kept:
            solved = (right - rows.T @ torch.linalg.solve(core, rows @ right)) / twice
        else:
            solved = torch.linalg.solve(core, right)
        result = torch.zeros_like(self.dense)
        result[support] = solved
        return result


def shortened(step: float, leads: Callable[[float], bool]) -> float:
    """Half the step, halved until the largest weight lies inside the support again."""
    for _ in range(_HALVINGS):
        step /= 2
        if leads(step):
            break
    return step


def _largest(values: Tensor, count: int) -> Tensor:
    """Mask of the `count` largest magnitudes, the highest index first among equals."""
    order = values.abs().argsort(stable=True)
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[order[len(order) - count :]] = True
    return mask
