"""Job events as they happen: one LISTEN per process, one read per event however many watch.

A watcher holds no database connection. It reads what it has missed from the database, then waits
for its job's feed, which a notification from PostgreSQL has the hub read on.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from sqlalchemy import make_url

from app.db.events import CHANNEL

logger = logging.getLogger("secateur.api")

PAGE = 500  # messages read at a time
KEPT = 1000  # messages of a feed; who lags further behind reads from the database
RECONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One event, ready to be sent. `last` ends the stream."""

    id: int
    text: bytes
    last: bool


# Up to PAGE messages of a job that follow an id, oldest first.
Read = Callable[[str, int], Awaitable[Sequence[Message]]]


@dataclass(eq=False)
class Feed:
    """The newest messages of one watched job.

    Attributes:
        start: `messages` has everything after this id; None until somebody has caught up.
        version: grows with every notification; a watcher that saw this version missed nothing.
    """

    messages: list[Message] = field(default_factory=list)
    start: int | None = None
    version: int = 0
    watchers: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def end(self) -> int:
        """Id of the newest message; only once `start` is known."""
        return self.messages[-1].id if self.messages else self.start or 0

    def after(self, cursor: int) -> Sequence[Message] | None:
        """What follows `cursor`; None where the feed does not reach back so far."""
        if self.start is None or cursor < self.start:
            return None
        return self.messages[bisect_right(self.messages, cursor, key=lambda m: m.id) :]

    async def wait(self, version: int) -> None:
        """Return once the feed is newer than `version`."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.version != version)

    async def renew(self) -> None:
        """Have every watcher look again."""
        self.version += 1  # before anything that waits: who reads right now has to read again
        async with self.changed:
            self.changed.notify_all()


class Hub:
    """The feeds of all jobs that are watched through this process.

    Attributes:
        closing: nobody waits any longer; who watches gets what is known and asks elsewhere.
    """

    def __init__(self, database_url: str, read: Read) -> None:
        parts = make_url(database_url).set(drivername="postgresql")
        self._conninfo = parts.render_as_string(hide_password=False)
        self._read = read
        self._feeds: dict[str, Feed] = {}
        self._updates: set[asyncio.Task[None]] = set()
        self.closing = False

    async def run(self) -> None:
        """Listen until cancelled; after a break every feed is read on."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    for job_id in list(self._feeds):
                        self._update_soon(job_id)
                    async for notification in connection.notifies():
                        self._update_soon(notification.payload)
            except (psycopg.Error, OSError) as error:
                logger.warning("not listening for events: %s", error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def close(self) -> None:
        """End all waiting, now and from now on."""
        self.closing = True
        for feed in list(self._feeds.values()):
            await feed.renew()

    @contextmanager
    def feed(self, job_id: str) -> Iterator[Feed]:
        """The job's feed, kept up to date while it is open."""
        feed = self._feeds.setdefault(job_id, Feed())
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[job_id]

    async def watch(self, job_id: str, after: int, keep_alive: float) -> AsyncIterator[bytes]:
        """The job's messages from `after` on, until its last or the hub closes.

        Empty bytes when all is quiet.
        """
        with self.feed(job_id) as feed:
            cursor = after
            while True:
                version = feed.version
                found = feed.after(cursor)
                if found is None:
                    found = await self._read(job_id, cursor)
                    # What was told meanwhile may have come after the read.
                    if not found and feed.start is None and feed.version == version:
                        feed.start = cursor
                for message in found:
                    yield message.text
                    cursor = message.id
                    if message.last:
                        return
                if not found:
                    if self.closing:
                        return
                    try:
                        async with asyncio.timeout(keep_alive):
                            await feed.wait(version)
                    except TimeoutError:
                        yield b""

    def _update_soon(self, job_id: str) -> None:
        if feed := self._feeds.get(job_id):
            task = asyncio.create_task(self._update(job_id, feed))
            self._updates.add(task)
            task.add_done_callback(self._updates.discard)

    async def _update(self, job_id: str, feed: Feed) -> None:
        try:
            async with feed.reading:
                await self._read_on(job_id, feed)
        except Exception as error:  # noqa: BLE001  whatever it is, every watcher reads for itself
            logger.warning("events cannot be read on: %s", error)
            feed.messages, feed.start = [], None
        await feed.renew()

    async def _read_on(self, job_id: str, feed: Feed) -> None:
        if feed.start is None:
            return
        while found := await self._read(job_id, feed.end):
            feed.messages += found
            if len(found) < PAGE:
                break
        if len(feed.messages) > KEPT:
            feed.start = feed.messages[-KEPT - 1].id
            del feed.messages[:-KEPT]
