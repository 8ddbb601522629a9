"""The k-th smallest of many scores: no sort, no concatenation, one chunk in memory at a time.

Non-negative IEEE floats order like their bit patterns, so a histogram over the leading bits finds
the narrow range that holds the k-th value, and a second pass looks at that range alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from app.domain.errors import NonFiniteError

Scores: TypeAlias = Callable[[], torch.Tensor]
"""Makes one matrix of non-negative float32 scores anew; called once or twice."""

CHUNK = 1 << 18
_SHIFT = 16  # leading bits: exponent and 7 of the mantissa
_BUCKETS = 1 << (31 - _SHIFT)
_INFINITE = 0x7F800000 >> _SHIFT


def kth_smallest(pool: Sequence[Scores], k: int) -> float:
    """Value of the k-th smallest score (1-based) over all matrices of the pool.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    return _search(pool, k)[0]


def pool_counts(pool: Sequence[Scores], count: int) -> list[int]:
    """How many of the pool's `count` smallest scores lie in each matrix.

    The result sums to `count`; equal scores at the threshold are taken from the first matrices.
    """
    if count == 0:
        return [0] * len(pool)
    threshold, below, inside = _search(pool, count)
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


def _search(pool: Sequence[Scores], k: int) -> tuple[float, list[int], list[NDArray[np.float32]]]:
    """Threshold, and for each matrix the count below its bucket and the values inside it."""
    histograms = [_histogram(scores()) for scores in pool]
    cumulative = np.cumsum(np.sum(histograms, axis=0))
    if k > cumulative[_INFINITE - 1]:
        raise NonFiniteError("a score is NaN or infinite")
    bucket = int(np.searchsorted(cumulative, k))
    below = [int(histogram[:bucket].sum()) for histogram in histograms]
    inside = [
        _bucket_values(scores(), bucket) if histogram[bucket] else np.empty(0, np.float32)
        for scores, histogram in zip(pool, histograms, strict=True)
    ]
    rank = k - sum(below) - 1
    return float(np.partition(np.concatenate(inside), rank)[rank]), below, inside


def _chunks(scores: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from torch.split(scores.reshape(-1), CHUNK)


def _histogram(scores: torch.Tensor) -> NDArray[np.int64]:
    counts = torch.zeros(1 << (32 - _SHIFT - 1), dtype=torch.int64, device=scores.device)
    for chunk in _chunks(scores):
        counts += torch.bincount(chunk.view(torch.int32) >> _SHIFT, minlength=_BUCKETS)
    histogram: NDArray[np.int64] = counts.cpu().numpy()
    return histogram


def _bucket_values(scores: torch.Tensor, bucket: int) -> NDArray[np.float32]:
    bits = np.array([bucket << _SHIFT, (bucket + 1) << _SHIFT], np.int32)
    low, high = bits.view(np.float32)
    values = []
    for chunk in _chunks(scores):
        array = chunk.cpu().numpy()
        values.append(array[(array >= low) & (array < high)])
    return np.concatenate(values)
