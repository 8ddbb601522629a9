"""SparseGPT (Frantar and Alistarh, ICML 2023, arXiv 2301.00774)."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.pattern import NM
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.importance.criterion import Criterion, Outcome
from workers.pruning.selection.linalg import inverse_factor
from workers.pruning.selection.selection import Selection, check_finite, smallest_of_lanes, zero

Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]

_TILE = 32  # columns whose errors reach each other one by one, and the next tile as one product


class Inverse(NamedTuple):
    """Factor of an inverse Hessian.

    Attributes:
        upper: U with U^T U = (H + damping)^-1.
        scale: 1 / U_jj, zero for inputs that are always zero.
        warnings: what building it took.
    """

    upper: torch.Tensor
    scale: torch.Tensor
    warnings: tuple[str, ...]


class SparseGPTCriterion(Criterion):
    """w_ij^2 / U_jj^2, and every pruned weight's error is made up for by the columns after it.

    U is the upper Cholesky factor of (H + damping)^-1, H = 2/N sum of x x^T over N samples.
    Columns whose input is always zero go first: their weights cost nothing.
    """

    importance = SparseGPT
    statistic = Hessian

    def __init__(self, settings: SparseGPT, seed: int = 0) -> None:
        """Take damping and block size from the recipe."""
        super().__init__(settings, seed)
        self._latest: tuple[Hessian, Inverse] | None = None

    def digest(self, statistic: Any) -> torch.Tensor:
        """1 / U_jj, zero for dead inputs: (in,), float32."""
        return self._inverse(statistic).scale

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """w_ij^2 / U_jj^2 in float32."""
        return weight.float().mul(digest).square_()

    def prune(self, weight: torch.Tensor, statistic: Any, selection: Selection) -> Outcome:
        """Choose block of columns by block of columns and update the survivors, in place.

        Algorithm 1 of the paper: errors inside a block are applied at once, to later blocks when
        the block is done.

        Raises:
            NonFiniteError: a score is NaN or infinite; the weights stay as they are.
        """
        inverse = self._inverse(statistic)
        columns = weight.float().T.contiguous()  # (in, out): a column is one stretch of memory
        mask = torch.empty_like(columns, dtype=torch.bool)
        scored = lost = 0.0
        for start, stop in self._blocks(len(columns), selection):
            block = slice(start, stop)
            part = selection.columns(start, stop, (columns.shape[1], columns.shape[0]))
            with np.errstate(over="ignore", invalid="ignore"):  # such scores are refused
                done = eliminate(
                    columns[block].cpu().numpy(),
                    inverse.upper[block, block].cpu().numpy(),
                    inverse.scale[block].cpu().numpy(),
                    part,
                )
            columns[block] = torch.from_numpy(done.values)
            mask[block] = torch.from_numpy(done.mask)
            errors = torch.from_numpy(done.errors).to(columns.device)
            columns[stop:] -= inverse.upper[block, stop:].T @ errors
            scored += done.scored
            lost += float(errors.square().sum())
        zero(columns, mask)
        weight.copy_(columns.T)
        return Outcome(
            mask.T,
            mean_score=scored / weight.numel(),
            lost_score=min(1.0, lost / scored) if scored else 0.0,
            error=lost / 2,
            warnings=inverse.warnings,
        )

    def _blocks(self, columns: int, selection: Selection) -> list[tuple[int, int]]:
        """Stretches of columns that are updated together; no n:m group is cut."""
        width: int = self.settings.block_size
        if isinstance(selection.pattern, NM):
            width = -(-width // selection.pattern.m) * selection.pattern.m
        return [(start, min(start + width, columns)) for start in range(0, columns, width)]

    def _inverse(self, statistic: Hessian) -> Inverse:
        """Factor for the statistic; matrices that share inputs come one after another."""
        if self._latest is None or self._latest[0] is not statistic:
            self._latest = (statistic, self._factor(statistic))
        return self._latest[1]

    def _factor(self, statistic: Hessian) -> Inverse:
        hessian = statistic.mean.float().mul_(2)
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        asked = self.settings.damping
        upper, damping = inverse_factor(hessian, asked)
        scale = upper.diagonal().reciprocal().masked_fill_(dead, 0)
        warnings = ()
        if damping > asked:
            raised = f"Hessian not positive definite at damping {asked:g}; raised to {damping:g}"
            return Inverse(upper, scale, (raised,))
        return Inverse(upper, scale, warnings)


class Eliminated(NamedTuple):
    """A block of columns after its turn.

    Attributes:
        values: weights with the block's own errors made up for; those of `mask` not yet zeroed.
        mask: True where a weight went.
        errors: w_ij / U_jj of the weights that went, else zero.
        scored: summed scores at the time of choosing.
    """

    values: Floats
    mask: Bools
    errors: Floats
    scored: float


def eliminate(values: Floats, upper: Floats, scale: Floats, part: Selection) -> Eliminated:
    """Choose and eliminate the columns of one block, all arrays (columns, out).

    On the host and in numpy: a column is little work, and a call into torch costs more than that.

    Args:
        values: weights, changed in place.
        upper: the block's part of U, (columns, columns).
        scale: 1 / U_jj, zero for dead inputs, (columns,).
        part: what to choose; an n:m group is chosen when its turn comes, the rest at the start.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    pattern = part.pattern
    span = pattern.m if isinstance(pattern, NM) else len(values)
    errors = np.zeros_like(values)
    mask = np.empty(values.shape, np.bool_)
    scores = np.empty_like(values)
    for low in range(0, len(values), span):
        chosen = slice(low, low + span)
        if low:
            values[chosen] -= upper[:low, chosen].T @ errors[:low]
        np.square(values[chosen] * scale[chosen, None], out=scores[chosen])
        if isinstance(pattern, NM):
            mask[chosen] = smallest_of_lanes(scores[chosen], pattern.m - pattern.n)
        else:
            mask[chosen] = part.mask(torch.from_numpy(scores[chosen].T)).numpy().T
        gain = mask[chosen] * scale[chosen, None]
        _sweep(values[chosen], errors[chosen], gain, upper[chosen, chosen])
    check_finite(torch.from_numpy(scores))
    return Eliminated(values, mask, errors, float(scores.sum()))


def _sweep(values: Floats, errors: Floats, gain: Floats, upper: Floats) -> None:
    """Eliminate columns in order, in place: error_j = gain_j * (w_j - sum_{k<j} U_kj error_k)."""
    for low in range(0, len(values), _TILE):
        high = min(low + _TILE, len(values))
        if low:
            values[low:high] -= upper[:low, low:high].T @ errors[:low]
        for column in range(low, high):
            row = values[column]
            if column > low:
                row -= upper[low:column, column] @ errors[low:column]
            np.multiply(row, gain[column], out=errors[column])
