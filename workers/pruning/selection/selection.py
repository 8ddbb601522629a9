"""Which weights of one matrix go: exact integer budgets, deterministic ties, N:M groups.

Everywhere a score is a non-negative float32, the smallest scores go first, and among equal scores
the lowest flat index goes first.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.graph import increment_version

from app.errors import NonFiniteError, RecipeError
from app.recipes.budgets import share, share_by_row
from app.recipes.pattern import NM, Pattern
from workers.pruning.selection import device
from workers.pruning.selection.kth import kth_smallest


def budget(shape: tuple[int, int], sparsity: float, pattern: Pattern) -> int:
    """Number of weights an (out, in) matrix loses by itself, as the papers round it.

    An n:m pattern fixes it; where rows are compared, every row is rounded down (Wanda's official
    code), else the matrix is (SparseGPT's).

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
        return share_by_row(rows, columns, sparsity)
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
            check_finite(scores)
            return smallest_of_group(scores, self.pattern.m - self.pattern.n, self.pattern.m)
        if self.pattern.group == "row":
            check_finite(scores)
            return smallest_per_row(scores, self.count)
        return smallest(scores, self.count)

    def columns(self, start: int, stop: int, shape: tuple[int, int]) -> "Selection":
        """The part of this budget that falls on columns [start, stop); the parts add up to it.

        Where rows are compared, the rows that lose one weight more lose it in the first part.
        """
        rows, columns = shape

        def part(count: int) -> int:
            return count * stop // columns - count * start // columns

        if isinstance(self.pattern, NM) or self.pattern.group == "matrix":
            return Selection(self.pattern, part(self.count))
        each, rest = divmod(self.count, rows)
        return Selection(self.pattern, rows * part(each) + (rest if start == 0 else 0))


def check_finite(scores: torch.Tensor) -> None:
    """Refuse NaN and infinity; one sum unless something is wrong.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    if not torch.isfinite(scores.sum()) and not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("a score is NaN or infinite")


def smallest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` smallest scores of a tensor of any shape.

    Raises:
        NonFiniteError: a score is NaN, infinite or negative.
    """
    if count == 0:
        check_finite(scores)
        return torch.zeros_like(scores, dtype=torch.bool)
    scores = scores.contiguous()
    if scores.device.type != "cpu":
        check_finite(scores)
        return device.smallest(scores, count)
    threshold = kth_smallest([lambda: scores], count)
    mask = torch.from_numpy(scores.numpy() <= np.float32(threshold))
    surplus = int(np.count_nonzero(mask.numpy())) - count
    if surplus:
        equal = torch.nonzero(scores.flatten() == threshold).flatten()
        mask.view(-1)[equal[-surplus:]] = False
    return mask


def smallest_per_row(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of `count` scores spread evenly over the rows of (out, in), smallest of each row first.

    Where `count` does not divide by the rows, the rows whose next score is smallest give one more.
    """
    each, rest = divmod(count, len(scores))
    if scores.device.type != "cpu":
        return device.smallest_per_row(scores, each, rest)
    values = scores.numpy()
    counts = np.full(len(values), each)
    # partition is vectorised (x86-simd-sort) for one place alone.
    if rest:
        ordered = np.partition(values, each, axis=1)
        threshold = ordered[:, :each].max(axis=1, initial=-1)
        more = np.argsort(ordered[:, each], kind="stable")[:rest]
        threshold[more] = ordered[more, each]
        counts[more] += 1
    elif each:
        threshold = np.partition(values, each - 1, axis=1)[:, each - 1]
    else:
        return torch.zeros_like(scores, dtype=torch.bool)
    return torch.from_numpy(_lowest(values, threshold, counts))


def _lowest(
    values: NDArray[np.float32], threshold: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mask of each row's `counts` smallest values, lowest column first among equals.

    The threshold is the largest of them in each row; alone it overshoots where values tie.
    """
    mask: NDArray[np.bool_] = values <= threshold[:, None]
    tied = np.flatnonzero(mask.sum(axis=1, dtype=np.int32) > counts)
    if tied.size:
        below = values[tied] < threshold[tied, None]
        equal = values[tied] == threshold[tied, None]
        room = counts[tied] - np.count_nonzero(below, axis=1)
        mask[tied] = below | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))
    return mask


def smallest_of_group(scores: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Mask of the `count` smallest of every `size` consecutive scores of a row of (out, in)."""
    if scores.device.type != "cpu":
        return device.smallest_of_group(scores, count, size)
    groups = scores.numpy().reshape(-1, size)
    mask = np.empty(groups.shape, np.bool_)
    for start in range(0, len(groups), _GROUPS):
        part = slice(start, start + _GROUPS)
        mask[part] = smallest_of_lanes(np.ascontiguousarray(groups[part].T), count).T
    return torch.from_numpy(mask.reshape(scores.shape))


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


# On a CPU numpy compares and counts about seven times as fast as torch, and puts on narrow masks
# without widening them as a whole.
def zeros(weight: torch.Tensor) -> int:
    """Number of weights that are zero, of either sign."""
    stays = nonzero(weight)
    if weight.device.type != "cpu":
        return weight.numel() - int(stays.sum())
    return weight.numel() - int(np.count_nonzero(stays.numpy()))


def nonzero(weight: torch.Tensor) -> torch.Tensor:
    """Mask of the weights that are not zero, of either sign."""
    if weight.device.type != "cpu":
        return weight != 0
    if weight.element_size() == torch.int16.itemsize:  # numpy knows no bfloat16
        return torch.from_numpy(weight.view(torch.int16).numpy() << 1 != 0)
    return torch.from_numpy(weight.numpy() != 0)


def zero(weight: torch.Tensor, mask: torch.Tensor) -> None:
    """Set `weight` to +0.0 where `mask` is True, in place; any layout, any float dtype.

    An AND on the bits is an order of magnitude faster than masked_fill_ on a CPU, and a product
    with the mask would leave -0.0.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    bits, stays = weight.view(integer), mask.view(torch.int8) - 1  # -1 has all bits set
    if weight.device.type != "cpu":
        bits.bitwise_and_(stays)
    else:
        np.bitwise_and(bits.numpy(), stays.numpy(), out=bits.numpy())
        increment_version(weight)  # torch did not see the write, and copies are kept by its count
