"""Methods of one instance, replaced for a while."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MARK = "_par_plan"  # on a cache: its plan; on a wrapped method: that it is wrapped


@contextmanager
def wrapped(owner: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Let `wrapper(original, ...)` stand in for a method of one instance."""
    original, own = getattr(owner, name), name in vars(owner)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(call, MARK, None)
    setattr(owner, name, call)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
