"""Eliminating a block of columns (SparseGPT, Frantar and Alistarh, 2023, algorithm 1)."""

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from app.recipes.pattern import NM
from workers.pruning.selection import kernel
from workers.pruning.selection.selection import Selection, check_finite, smallest_of_lanes

Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]

_TILE = 32  # columns whose errors reach each other one by one, and the next tile as one product


class Eliminated(NamedTuple):
    """A block of columns after its turn.

    Attributes:
        mask: True where a weight went, bool (columns, out).
        errors: w_ij / U_jj of the weights that went, else zero; float32 (columns, out).
        scored: summed scores at the time of choosing, without dimension.
    """

    mask: torch.Tensor
    errors: torch.Tensor
    scored: torch.Tensor


def eliminate(
    values: torch.Tensor, upper: torch.Tensor, scale: torch.Tensor, part: Selection
) -> Eliminated:
    """Choose and eliminate the columns of one block, all tensors (columns, out).

    Args:
        values: float32 weights, contiguous, changed in place: the block's own errors are made up
            for, what went is not zeroed.
        upper: the block's part of U, (columns, columns).
        scale: 1 / U_jj, zero for dead inputs, (columns,).
        part: what to choose; an n:m group is chosen when its turn comes, the rest at the start.

    Raises:
        NonFiniteError: a score is NaN or infinite. On a GPU nobody looks: `scored` tells.
    """
    if values.device.type != "cpu":
        return Eliminated(*kernel.eliminate(values, upper, scale, part))
    with np.errstate(over="ignore", invalid="ignore"):  # such scores are refused
        mask, errors, scored = _on_host(values.numpy(), upper.numpy(), scale.numpy(), part)
    return Eliminated(torch.from_numpy(mask), torch.from_numpy(errors), torch.tensor(scored))


def _on_host(
    values: Floats, upper: Floats, scale: Floats, part: Selection
) -> tuple[Bools, Floats, float]:
    """In numpy: a column is little work, and a call into torch costs more than that."""
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
    return mask, errors, float(scores.sum())


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
