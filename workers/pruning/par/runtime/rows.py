"""A decoder layer on some rows of a batch; the others pass it by."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from workers.pruning.par.runtime.errors import ParError

_BATCH = {"attention_mask": 0, "position_ids": -2, "position_embeddings": -3}  # its dimension


def on_rows(dense: Callable[..., Any], hidden: Tensor, rows: Tensor, kwargs: dict[str, Any]) -> Any:
    """Run a layer on some rows only.

    Args:
        dense: the layer's forward.
        hidden: (B, S, D) of all rows.
        rows: indices of those that run, ascending; not all of them.
        kwargs: of the layer, for all rows.

    Returns:
        (B, S, D), in which the other rows are as they were.

    Raises:
        ParError: the attention mask is no tensor.
    """
    rows = rows.to(hidden.device)
    part = {
        name: _taken(value, _BATCH[name], rows) if name in _BATCH else value
        for name, value in kwargs.items()
    }
    cache = kwargs.get("past_key_values")
    if cache is not None:
        part["past_key_values"] = RowsOfCache(cache, rows, len(hidden))
    return hidden.index_copy(0, rows, dense(hidden.index_select(0, rows), **part))


def _taken(value: Any, dim: int, rows: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_taken(each, dim, rows) for each in value)
    if value is None:
        return None
    if not isinstance(value, Tensor):
        raise ParError(
            f"Rows of their own layers need masks that are tensors, not a {type(value).__name__}; "
            "choose eager or SDPA attention."
        )
    return value if value.shape[dim] == 1 else value.index_select(dim, rows.to(value.device))


class RowsOfCache:
    """Some rows of a cache, as the attention of a layer sees them.

    The cache itself holds all rows, zeros where a row passes the layer by: whoever reorders or
    repeats its rows, as beam search does, finds them where they are in every other layer.
    """

    def __init__(self, cache: Any, rows: Tensor, count: int) -> None:
        self._cache, self._rows, self._count = cache, rows, count

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Write the rows' new keys and values; returns all they have."""
        whole = self._cache.update(self._spread(keys), self._spread(values), *args, **kwargs)
        return tuple(each.index_select(0, self._rows.to(each.device)) for each in whole)

    def _spread(self, part: Tensor) -> Tensor:
        whole = part.new_zeros(self._count, *part.shape[1:])
        return whole.index_copy(0, self._rows.to(part.device), part)

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of a cache."""
        return getattr(self._cache, name)
