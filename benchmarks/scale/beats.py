"""Heartbeats and looks of watchdogs: nine of ten operations, so they are sent at little cost.

The statements are those that the service sends, written down once and prepared, each in a
transaction of its own with its three round trips. Many workers share a connection, and nothing is
built anew for each: PostgreSQL does as much for them as for real ones, the bench much less.
"""

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, event

from app.domain.jobs import Job, JobStatus, Phase
from benchmarks.scale import operations

HEARTBEAT, LOOK = 3.0, 1.0  # seconds, as in the settings
LANES = 8  # connections, each with a thread; a heartbeat waits for the disk
_PAUSE = 0.01  # seconds until it is looked again whether something is due

BEAT, GLANCE = "heartbeat", "look of a watchdog"
PERIODS = {BEAT: HEARTBEAT, GLANCE: LOOK}
_WORK: dict[str, Callable[[Connection, Job], object]] = {
    BEAT: partial(operations.report, phase=Phase.PRUNING, events=0),
    GLANCE: operations.look,
}

Counted = Callable[[str, float], None]
"""Told the name of what was done, and how late it was sent."""


@dataclass(eq=False, slots=True)
class Attempt:
    """One at work.

    Attributes:
        job: as it was claimed.
        worker: whose it is.
        holds: until it ends.
    """

    job: Job
    worker: str
    holds: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ends(self) -> bool:
        """Whether it is this caller that ends it."""
        with self._lock:
            was, self.holds = self.holds, False
            return was


class Recorded:
    """The statement of an operation, as the service sends it, for any job."""

    def __init__(self, engine: Engine, work: Callable[[Connection, Job], object], job: Job) -> None:
        """Carry the operation out once, and undo it."""
        told: list[tuple[str, dict[str, Any]]] = []

        def listen(*call: Any) -> None:
            told.append((call[2], call[3]))

        with engine.connect() as connection:
            event.listen(connection, "before_cursor_execute", listen)
            work(connection, job)
            connection.rollback()
        [(self.statement, self._given)] = told
        self._id = next(name for name, value in self._given.items() if value == job.id)
        self._attempt = next(name for name in self._given if name.startswith("attempt"))

    def parameters(self, job: Job) -> dict[str, Any]:
        """Of another job."""
        return self._given | {self._id: job.id, self._attempt: job.attempt}


def record(engine: Engine, job: Job) -> dict[str, Recorded]:
    """Everything that is sent, by its name; the job may be any."""
    return {name: Recorded(engine, work, job) for name, work in _WORK.items()}


class Lane:
    """One connection with the attempts that use it."""

    def __init__(
        self,
        url: URL,
        recorded: Mapping[str, Recorded],
        counted: Counted,
        cancelled: Callable[[Attempt], None],
    ) -> None:
        """No attempt is there yet; `cancelled` hears of those that are asked to stop."""
        self._url, self._recorded = url, recorded
        self._counted, self._cancelled = counted, cancelled
        self._due: list[tuple[float, int, str, Attempt]] = []
        self._numbers, self._lock = count(), threading.Lock()

    def add(self, attempt: Attempt) -> None:
        """Beat and look for an attempt until it ends."""
        now = time.monotonic()
        with self._lock:
            for name, seconds in PERIODS.items():
                heapq.heappush(self._due, (now + seconds, next(self._numbers), name, attempt))

    def run(self, until: Callable[[], bool]) -> None:
        """Send what is due, until told to end."""
        options = self._url.translate_connect_args(username="user", database="dbname")
        with psycopg.connect(**options, **self._url.query) as connection:
            while not until():
                if (step := self._next()) is None:
                    time.sleep(_PAUSE)
                else:
                    self._send(connection, *step)

    def _next(self) -> tuple[str, Attempt] | None:
        """What is due; it comes again."""
        now = time.monotonic()
        with self._lock:
            while self._due and self._due[0][0] <= now:
                due, _, name, attempt = heapq.heappop(self._due)
                if attempt.holds:
                    self._counted(name, now - due)
                    again = now + PERIODS[name]
                    heapq.heappush(self._due, (again, next(self._numbers), name, attempt))
                    return name, attempt
            return None

    def _send(self, connection: psycopg.Connection[Any], name: str, attempt: Attempt) -> None:
        kind = self._recorded[name]
        asked = kind.parameters(attempt.job)
        row = connection.execute(kind.statement, asked, prepare=True).fetchone()
        connection.commit()
        if name == BEAT and row is not None and row[0] == JobStatus.CANCELLING:
            self._cancelled(attempt)
