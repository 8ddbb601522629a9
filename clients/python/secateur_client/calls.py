"""Blocking work of the two clients: in a thread beside an event loop, or at once."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns; the event loop goes on meanwhile."""
    import asyncio  # noqa: PLC0415  a twentieth of a second that `Client` does without

    return await asyncio.to_thread(work, *args, **kwargs)


def directly(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns."""
    return work(*args, **kwargs)
