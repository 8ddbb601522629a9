"""SparseGPT (Frantar and Alistarh, ICML 2023, arXiv 2301.00774)."""

from typing import Any, NamedTuple

import torch

from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.pattern import NM
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.importance.criterion import Criterion, Outcome
from workers.pruning.selection.elimination import eliminate
from workers.pruning.selection.linalg import inverse_factor
from workers.pruning.selection.selection import Selection, check_finite, zero


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
        scored = columns.new_zeros((), dtype=torch.float64)
        lost = torch.zeros_like(scored)
        for start, stop in self._blocks(len(columns), selection):
            block = slice(start, stop)
            part = selection.columns(start, stop, (columns.shape[1], columns.shape[0]))
            done = eliminate(
                columns[block], inverse.upper[block, block], inverse.scale[block], part
            )
            mask[block] = done.mask
            columns[stop:].addmm_(inverse.upper[block, stop:].T, done.errors, alpha=-1)
            scored += done.scored
            lost += done.errors.square().sum()
        check_finite(scored)
        zero(columns, mask)
        weight.copy_(columns.T)
        total, error = float(scored), float(lost)
        return Outcome(
            mask.T,
            mean_score=total / weight.numel(),
            lost_score=min(1.0, error / total) if total else 0.0,
            error=error / 2,
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
            self._latest = None  # freed before the next is made
            self._latest = (statistic, self._factor(statistic))
        return self._latest[1]

    def _factor(self, statistic: Hessian) -> Inverse:
        hessian = statistic.moments().mul_(2)
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
