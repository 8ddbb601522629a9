"""Whether the things that the API needs do their work."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import migrate, quarantine
from app.db.workers import Load, load
from app.errors import StorageUnavailableError
from app.queue import CeleryQueue
from app.storage.store import ArtifactStore

OK = "ok"
AWAY = "not reachable"
# A dependency that says nothing for so long is away. Its thread may hang on for a while; the
# number of such threads is bounded, and they are none that requests need.
SECONDS = 4.0
_THREADS = 9
T = TypeVar("T")


class Probes:
    """Looks at every dependency, in threads and on connections of their own."""

    def __init__(self, engine: Engine, queue: CeleryQueue, store: ArtifactStore) -> None:
        self._engine, self._queue, self._store = engine, queue, store
        self._threads = CapacityLimiter(_THREADS)

    async def checks(self) -> dict[str, str]:
        """`ok`, or what is wrong, per dependency."""
        looks = {"database": self._database, "queue": self._broker, "store": self._files}
        found = await asyncio.gather(*(self._look(each, AWAY) for each in looks.values()))
        return dict(zip(looks, found, strict=True))

    async def load(self) -> Load | None:
        """How much there is to do; None where the database is away."""
        return await self._look(self._figures, None)

    async def set_aside(self) -> dict[str, int]:
        """How many items each loop of maintenance fails on; nothing where the database is away."""
        return await self._look(self._quarantined, {})

    async def _look(self, look: Callable[[], T], away: T) -> T:
        with anyio.move_on_after(SECONDS):
            return await run_sync(look, abandon_on_cancel=True, limiter=self._threads)
        return away

    def _database(self) -> str:
        try:
            with self._engine.connect() as connection:
                return OK if migrate.is_migrated(connection) else "migrations are missing"
        except SQLAlchemyError:
            return AWAY

    def _figures(self) -> Load | None:
        try:
            with self._engine.connect() as connection:
                return load(connection)
        except SQLAlchemyError:
            return None

    def _quarantined(self) -> dict[str, int]:
        try:
            with self._engine.connect() as connection:
                return quarantine.counts(connection)
        except SQLAlchemyError:
            return {}

    def _broker(self) -> str:
        try:
            self._queue.ping()
        except (RedisError, OSError):
            return AWAY
        return OK

    def _files(self) -> str:
        try:
            self._store.check()
        except StorageUnavailableError:
            return AWAY
        return OK
