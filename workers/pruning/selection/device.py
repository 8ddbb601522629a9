"""Choosing on a GPU: the same weights as on the host, without a trip there for each row.

Plain torch, every row at once. On a CPU the numpy of `selection` is several times faster.
"""

import torch

_ELEMENTS = 1 << 24  # compared at a time: bounds what is held beside the scores
_SORTED = 1 << 20  # scores: sorting more takes six times their memory


def smallest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the `count` smallest scores of a tensor, lowest flat index first among equals."""
    flat = scores.reshape(-1)
    threshold = _kth_of_all(flat, count)
    mask = _lowest(flat[None], threshold[None], torch.full_like(threshold, count)[None])
    return mask.view(scores.shape)


def _kth_of_all(flat: torch.Tensor, place: int) -> torch.Tensor:
    """The place-th smallest of all: (), found bit by bit where there are many.

    The bits of non-negative floats are ordered as their values are. `torch.kthvalue` of one row
    is the work of one thread block.
    """
    if len(flat) <= _SORTED:
        return torch.sort(flat).values[place - 1]
    bits = flat.view(torch.int32)
    found = torch.zeros((), dtype=torch.int32, device=flat.device)
    for bit in reversed(range(31)):
        below = (bits < found + (1 << bit)).sum()
        found += (below < place).int() << bit
    return found.view(torch.float32)


def smallest_per_row(scores: torch.Tensor, each: int, rest: int) -> torch.Tensor:
    """Mask of the smallest scores of every row of (out, in), lowest column first among equals.

    Args:
        scores: non-negative float32.
        each: how many every row gives.
        rest: how many rows give one more: those whose next score is smallest.
    """
    counts = torch.full((len(scores),), each, device=scores.device)
    threshold = _kth(scores, each) if each else scores.new_full((len(scores),), -1.0)
    if rest:
        following = _kth(scores, each + 1)
        more = torch.sort(following, stable=True).indices[:rest]
        threshold[more] = following[more]
        counts[more] += 1
    mask = torch.empty_like(scores, dtype=torch.bool)
    rows = max(1, _ELEMENTS // scores.shape[1])
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        mask[part] = _lowest(scores[part], threshold[part], counts[part])
    return mask


def _lowest(values: torch.Tensor, threshold: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mask of each row's `counts` smallest values, of which the threshold is the largest."""
    below, equal = values < threshold[:, None], values == threshold[:, None]
    room = counts[:, None] - below.sum(1, keepdim=True)
    return below | (equal & (equal.cumsum(1, dtype=torch.int32) <= room))


def _kth(scores: torch.Tensor, place: int) -> torch.Tensor:
    """The place-th smallest of every row: a value, whichever of several equal ones was met."""
    if not torch.are_deterministic_algorithms_enabled():
        return torch.kthvalue(scores, place, dim=1).values
    torch.use_deterministic_algorithms(mode=False)  # the index alone may differ
    try:
        return torch.kthvalue(scores, place, dim=1).values
    finally:
        torch.use_deterministic_algorithms(mode=True)


def smallest_of_group(scores: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Mask of the `count` smallest of every `size` consecutive scores of a row of (out, in).

    Counts how many of its group go before each score, the first one among equals.
    """
    lanes = scores.reshape(-1, size)
    mask = torch.empty_like(lanes, dtype=torch.bool)
    for lane in range(size):
        own = lanes[:, lane, None]
        before = (lanes[:, :lane] <= own).sum(1) + (lanes[:, lane + 1 :] < own).sum(1)
        mask[:, lane] = before < count
    return mask.view(scores.shape)
