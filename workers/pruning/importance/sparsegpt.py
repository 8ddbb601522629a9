"""SparseGPT (Frantar and Alistarh, ICML 2023, arXiv 2301.00774)."""

from typing import Any

import torch

from app.domain.recipe import NM, SparseGPT
from workers.pruning.importance.criterion import Criterion, Outcome
from workers.pruning.linalg import inverse_factor
from workers.pruning.selection import Selection
from workers.pruning.statistics import Hessian


class SparseGPTCriterion(Criterion):
    """w_ij^2 / U_jj^2, and every pruned weight's error is made up for by the columns after it.

    U is the upper Cholesky factor of (H + damping)^-1, H = 2/N sum of x x^T over N samples.
    Columns whose input is always zero go first: their weights cost nothing.
    """

    statistic = Hessian
    sequential = True

    def __init__(self, settings: SparseGPT) -> None:
        """Take damping and block size from the recipe."""
        self._settings = settings

    def digest(self, statistic: Any) -> torch.Tensor:
        """1 / U_jj, zero for dead inputs: (in,), float32."""
        factor, dead, _ = self._factor(statistic)
        return factor.diagonal().reciprocal().masked_fill(dead, 0)

    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """w_ij^2 / U_jj^2 in float32."""
        return weight.float().mul(digest).square_()

    def prune(self, weight: torch.Tensor, statistic: Any, selection: Selection) -> Outcome:
        """Choose block of columns by block of columns and update the survivors, in place.

        Algorithm 1 of the paper. The error of a block's own columns is applied when a column's
        turn comes, that of earlier blocks once per block.
        """
        factor, dead, warnings = self._factor(statistic)
        digest = factor.diagonal().reciprocal().masked_fill_(dead, 0)
        shape = (weight.shape[0], weight.shape[1])
        columns = weight.float().T.contiguous()  # (in, out): a column is one stretch of memory
        mask = torch.zeros_like(columns, dtype=torch.bool)
        width, span = self._widths(selection)
        total = lost = 0.0
        for start in range(0, shape[1], width):
            stop = min(start + width, shape[1])
            upper = factor[start:stop, start:stop]
            errors = torch.zeros_like(columns[start:stop])
            for low in range(start, stop, span):
                high = min(low + span, stop)
                done = slice(0, low - start)
                if low > start:
                    ahead = upper[done, low - start : high - start]
                    columns[low:high] -= ahead.T @ errors[done]
                scores = self.scores(columns[low:high].T, digest[low:high])
                total += float(scores.sum())
                mask[low:high] = selection.columns(low, high, shape).mask(scores).T
                for column in range(low, high):
                    row = column - start
                    before = slice(low - start, row)
                    values = columns[column]
                    if column > low:
                        values -= errors[before].T @ upper[before, row]
                    torch.mul(values, mask[column], out=errors[row])
                    errors[row] /= upper[row, row]
                    values.masked_fill_(mask[column], 0)
            lost += float((errors * ~dead[start:stop, None]).square().sum())
            columns[stop:] -= factor[start:stop, stop:].T @ errors
        weight.copy_(columns.T)
        return Outcome(
            mask.T,
            mean_score=total / weight.numel(),
            lost_score=min(1.0, lost / total) if total else 0.0,
            error=lost / 2,
            warnings=warnings,
        )

    def _widths(self, selection: Selection) -> tuple[int, int]:
        """Columns updated together, and columns chosen together."""
        width = self._settings.block_size
        if isinstance(selection.pattern, NM):
            m = selection.pattern.m
            return -(-width // m) * m, m
        return width, width

    def _factor(self, statistic: Hessian) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
        hessian = (2 * statistic.mean).float()
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        factor, damping = inverse_factor(hessian, self._settings.damping)
        if damping == self._settings.damping:
            return factor, dead, ()
        asked = self._settings.damping
        warning = f"Hessian not positive definite at damping {asked:g}; raised to {damping:g}"
        return factor, dead, (warning,)
