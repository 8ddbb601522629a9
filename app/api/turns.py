"""Work that keeps a thread for long: little of it at a time, and one piece of each project's."""

import asyncio
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")

MOST = 4


class Turns:
    """Threads apart from those that answer other requests; who waits for one holds none."""

    def __init__(self, most: int = MOST) -> None:
        self._threads = CapacityLimiter(most)
        self._projects = WeakValueDictionary[str, asyncio.Lock]()

    async def run(self, project_id: str, work: Callable[[], T]) -> T:
        """Do the work in a thread, once it is the project's turn."""
        turn = self._projects.setdefault(project_id, asyncio.Lock())
        async with turn:
            return await run_sync(work, limiter=self._threads)
