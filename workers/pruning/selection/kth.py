"""The k-th smallest of many scores: no sort, no concatenation, one chunk in memory at a time.

Non-negative IEEE floats order like their bit patterns, so a histogram over the leading bits finds
the narrow range that holds the k-th value, and a second pass looks at that range alone. Held are
one histogram and the values of that range, some thousandths of all.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from app.errors import NonFiniteError

MakeScores: TypeAlias = Callable[[], torch.Tensor]
"""Makes one matrix of non-negative float32 scores anew; called twice."""

_HOST = "cpu"
CHUNK = 1 << 18
_CHUNK_ON_DEVICE = 1 << 25  # each costs a wait for the device
_SHIFT = 16  # leading bits: sign, exponent and 7 of the mantissa
_BUCKETS = 1 << (31 - _SHIFT)
_SIGNED = 1 << (32 - _SHIFT)
_INFINITE = 0x7F800000 >> _SHIFT


def kth_smallest(pool: Sequence[MakeScores], k: int, names: Sequence[str] = ()) -> float:
    """Value of the k-th smallest score (1-based) over all matrices of the pool.

    Args:
        pool: the matrices.
        k: 1 for the smallest.
        names: of the matrices, for errors.

    Raises:
        NonFiniteError: a score is NaN, infinite or negative; its matrix is named.
    """
    return _search(pool, k, names)[0]


def pool_counts(pool: Sequence[MakeScores], count: int, names: Sequence[str] = ()) -> list[int]:
    """How many of the pool's `count` smallest scores lie in each matrix.

    The result sums to `count`; equal scores at the threshold are taken from the first matrices.

    Raises:
        NonFiniteError: as `kth_smallest`.
    """
    if count == 0:
        return [0] * len(pool)
    threshold, below, inside = _search(pool, count, names)
    counts = [
        low + int(np.count_nonzero(values < threshold))
        for low, values in zip(below, inside, strict=True)
    ]
    room = count - sum(counts)
    for index, values in enumerate(inside):
        taken = min(room, int(np.count_nonzero(values == threshold)))
        counts[index] += taken
        room -= taken
    return counts


def _search(
    pool: Sequence[MakeScores], k: int, names: Sequence[str]
) -> tuple[float, list[int], list[NDArray[np.float32]]]:
    """Threshold, and for each matrix the count below its bucket and the values inside it."""
    total = np.zeros(_BUCKETS, np.int64)
    for number, scores in enumerate(pool):
        counts = _histogram(scores())
        if counts[_INFINITE:].any():
            name = f"{names[number]}: " if names else ""
            raise NonFiniteError(f"{name}a score is NaN, infinite or negative")
        total += counts
    cumulative = np.cumsum(total)
    bucket = int(np.searchsorted(cumulative, k))
    # Room for all at once: many small arrays between large ones would tear the heap apart.
    inside = np.empty(total[bucket], np.float32)
    below, ends = list[int](), [0]
    for scores in pool:
        smaller, found = _around(scores(), bucket, inside[ends[-1] :])
        below.append(smaller)
        ends.append(ends[-1] + found)
    rank = k - sum(below) - 1
    threshold = float(np.partition(inside, rank)[rank])
    return threshold, below, [inside[low:high] for low, high in pairwise(ends)]


def _chunks(scores: torch.Tensor) -> Iterator[torch.Tensor]:
    size = CHUNK if scores.device.type == _HOST else _CHUNK_ON_DEVICE
    yield from torch.split(scores.reshape(-1), size)


def _histogram(scores: torch.Tensor) -> NDArray[np.int64]:
    counts = torch.zeros(_BUCKETS, dtype=torch.int64, device=scores.device)
    for chunk in _chunks(scores):
        leading = (chunk.view(torch.int32) >> _SHIFT).bitwise_and_(_SIGNED - 1)
        found = torch.bincount(leading, minlength=_BUCKETS)
        counts += found[:_BUCKETS]
        counts[_INFINITE] += len(found) > _BUCKETS  # negative, or a NaN whose sign is set
    histogram: NDArray[np.int64] = counts.cpu().numpy()
    return histogram


def _around(scores: torch.Tensor, bucket: int, room: NDArray[np.float32]) -> tuple[int, int]:
    """How many scores lie below the bucket, and how many inside, which are put into `room`."""
    bits = np.array([bucket << _SHIFT, (bucket + 1) << _SHIFT], np.int32)
    low, high = bits.view(np.float32)
    below = inside = 0
    for chunk in _chunks(scores):
        if chunk.device.type != _HOST:  # the host sees what lies inside alone
            under = chunk < float(low)
            below += int(under.sum())
            chunk = chunk[(chunk < float(high)) & ~under]  # noqa: PLW2901 (the rest is counted)
        array = chunk.cpu().numpy()
        smaller = array < low
        values = array[(array < high) & ~smaller]
        below += int(np.count_nonzero(smaller))
        room[inside : inside + len(values)] = values
        inside += len(values)
    return below, inside
