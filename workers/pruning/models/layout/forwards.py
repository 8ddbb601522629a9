"""Something else in place of modules' forwards, for a while."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import nn
from transformers.cache_utils import Cache

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
Forward: TypeAlias = Callable[..., Any]


@contextmanager
def replaced(
    modules: Sequence[nn.Module], stand_in: Callable[[int, Forward], Forward]
) -> Iterator[None]:
    """Every module runs `stand_in(index, its own forward)`; its own is back on exit."""
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for index, module in enumerate(modules):
            module.__dict__["forward"] = stand_in(index, module.forward)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own


def without_cache(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    """The arguments of a block without key-value caches, which would grow with every call."""
    return (
        tuple(None if isinstance(value, Cache) else value for value in args),
        {key: None if isinstance(value, Cache) else value for key, value in kwargs.items()},
    )
