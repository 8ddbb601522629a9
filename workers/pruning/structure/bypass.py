"""Run a model without some of its blocks, which stay where they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from workers.pruning.models.layout.forwards import blocks_replaced, call_of, with_hidden
from workers.pruning.models.layout.structure import Block, Tower


@contextmanager
def bypassed(towers: Sequence[Tower], left_out: set[Block]) -> Iterator[None]:
    """Inside, these blocks pass on what they are given."""
    with ExitStack() as stack:
        for tower in towers:
            gone = {n for n, block in enumerate(tower.blocks) if block in left_out}
            if gone:
                stack.enter_context(blocks_replaced(tower, _passing_on(gone)))
        yield


def _passing_on(gone: set[int]) -> Callable[[int, Callable[..., Any], Any, Any], Any]:
    def forward(at: int, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if at not in gone:
            return original(*args, **kwargs)
        hidden = call_of(at, args, kwargs).hidden
        return with_hidden(original(*args, **kwargs), hidden)

    return forward
