"""Long polls: an answer now, or when there is more to say."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

from anyio.to_thread import run_sync
from fastapi import Query

from app.api.http.feeds import Hub

T = TypeVar("T")

MAX_WAIT = 60

Wait = Annotated[float, Query(ge=0, le=MAX_WAIT, description="seconds to wait for the end")]


async def until(
    hub: Hub, subject_id: str, look: Callable[[], T], *, ended: Callable[[T], bool], wait: float
) -> T:
    """What `look` finds, in a thread, once it has ended, the time is over or the API ends."""
    deadline = asyncio.get_running_loop().time() + wait
    with hub.feed(subject_id) as feed:
        while True:
            version = feed.version
            found = await run_sync(look)
            if ended(found) or hub.closing:
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await feed.wait(version)
            except TimeoutError:
                return found
