"""Which weights of one matrix go: exact integer budgets, deterministic ties, N:M groups.

Everywhere a score is a non-negative float32, the smallest scores go first, and among equal scores
the lowest flat index goes first.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from app.domain.errors import RecipeError
from app.domain.recipe import NM, Pattern
from workers.pruning.kth import kth_smallest


def share(count: int, sparsity: float) -> int:
    """floor(count * sparsity) of the decimal number written: 0.29 of 100 is 29, not 28."""
    return int(Fraction(repr(float(sparsity))) * count)


def budget(shape: tuple[int, int], sparsity: float, pattern: Pattern) -> int:
    """Number of weights an (out, in) matrix loses at `sparsity`, as the pattern rounds it.

    Raises:
        RecipeError: an n:m pattern whose m does not divide the input dimension.
    """
    rows, columns = shape
    if isinstance(pattern, NM):
        if columns % pattern.m:
            raise RecipeError(
                f"{pattern.n}:{pattern.m} needs an input dimension divisible by {pattern.m}, "
                f"got {columns}; leave the matrix out with `ignore`"
            )
        return rows * columns // pattern.m * (pattern.m - pattern.n)
    if pattern.group == "row":
        return rows * share(columns, sparsity)
    return share(rows * columns, sparsity)


_GROUPS = 1 << 12  # groups compared at a time: stays in cache


@dataclass(frozen=True, slots=True)
class Selection:
    """A pattern with the number of weights that must go."""

    pattern: Pattern
    count: int

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """Boolean (out, in), True where a weight goes; exactly `count` are True.

        Raises:
            NonFiniteError: a score is NaN or infinite.
        """
        if isinstance(self.pattern, NM):
            return smallest_of_group(scores, self.pattern.m - self.pattern.n, self.pattern.m)
        if self.pattern.group == "row":
            return smallest_per_row(scores, self.count)
        return smallest(scores, self.count)

    def columns(self, start: int, stop: int, shape: tuple[int, int]) -> "Selection":
        """The part of this budget that falls on columns [start, stop); the parts add up to it."""
        rows, columns = shape

        def part(count: int) -> int:
            return count * stop // columns - count * start // columns

        by_row = not isinstance(self.pattern, NM) and self.pattern.group == "row"
        if by_row and self.count % rows == 0:
            return Selection(self.pattern, rows * part(self.count // rows))
        return Selection(self.pattern, part(self.count))


def smallest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` smallest scores of a tensor of any shape."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    scores = scores.contiguous()
    threshold = kth_smallest([lambda: scores], count)
    mask = scores <= threshold
    surplus = int(torch.count_nonzero(mask)) - count
    if surplus:
        equal = torch.nonzero(scores.flatten() == threshold).flatten()
        mask.view(-1)[equal[-surplus:]] = False
    return mask


def smallest_per_row(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of `count` scores spread evenly over the rows of (out, in), smallest of each row first.

    Where `count` does not divide by the rows, the rows whose next score is smallest give one more.
    """
    each, rest = divmod(count, len(scores))
    values = scores.cpu().numpy()
    mask = _lowest(values, each)
    if rest:
        upcoming = np.where(mask, np.inf, values)
        column = upcoming.argmin(axis=1)
        first = np.arange(len(values))
        row = np.argsort(upcoming[first, column], kind="stable")[:rest]
        mask[row, column[row]] = True
    return torch.from_numpy(mask).to(scores.device)


def _lowest(values: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Mask of the `count` smallest values of each row, lowest column first among equals."""
    if count == 0:
        return np.zeros_like(values, dtype=np.bool_)
    # partition is vectorised (x86-simd-sort); a bare threshold overshoots where values tie.
    threshold = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
    mask: NDArray[np.bool_] = values <= threshold
    tied = np.flatnonzero(mask.sum(axis=1, dtype=np.int32) > count)
    if tied.size:
        below = values[tied] < threshold[tied]
        equal = values[tied] == threshold[tied]
        room = count - np.count_nonzero(below, axis=1)
        mask[tied] = below | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))
    return mask


def smallest_of_group(scores: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Mask of the `count` smallest of every `size` consecutive scores of a row of (out, in)."""
    groups = scores.cpu().numpy().reshape(-1, size)
    mask = np.empty(groups.shape, np.bool_)
    for start in range(0, len(groups), _GROUPS):
        part = slice(start, start + _GROUPS)
        mask[part] = smallest_of_lanes(np.ascontiguousarray(groups[part].T), count).T
    return torch.from_numpy(mask.reshape(scores.shape)).to(scores.device)


def smallest_of_lanes(lanes: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Mask of the `count` smallest of every column of (size, groups), first lane among equals.

    A network of size*(size-1)/2 comparisons counts how many of its group go before each score.
    """
    size = len(lanes)
    before = np.empty(lanes.shape, np.int8)
    before[:] = np.arange(size - 1, -1, -1, dtype=np.int8)[:, None]
    for gap in range(1, size):  # compares every lane with the one `gap` further on
        first = (lanes[:-gap] <= lanes[gap:]).view(np.int8)
        before[gap:] += first
        before[:-gap] -= first
    mask: NDArray[np.bool_] = before < count
    return mask


def zeros(weight: torch.Tensor) -> int:
    """Number of weights that are zero; torch.count_nonzero is slow on irregular patterns."""
    return int(np.count_nonzero((weight == 0).cpu().numpy()))


def zero(weight: torch.Tensor, mask: torch.Tensor) -> None:
    """Set `weight` to +0.0 where `mask` is True, in place; any layout, any float dtype.

    An AND on the bits is an order of magnitude faster than masked_fill_ on a CPU, and a product
    with the mask would leave -0.0.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    weight.view(integer).bitwise_and_(mask.to(integer).sub_(1))
