"""The maintenance process: relays the outbox, recovers lost messages, reaps leases, tidies.

`python -m app.maintenance`. Any number may run: rows are taken with SKIP LOCKED.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import OperationalError

from app import deliver, publish
from app.db import idempotency, outbox, shards
from app.db.engine import make_engine
from app.domain.errors import StorageUnavailableError
from app.queue import CeleryQueue
from app.services import attempts, dispatch, keeping, waiting
from app.services.leftovers import discard_leftovers, sweep_checkpoints
from app.settings import Settings
from app.storage.checkpoints import CheckpointStore
from app.storage.store import ArtifactStore, open_store
from app.telemetry import exposition, logs, traces
from app.telemetry.metrics import maintenance as metrics
from app.webhooks.sender import Sender

logger = logging.getLogger("secateur.maintenance")

TIDY_SECONDS = 600.0
# What a database, a broker or an artifact store that is not reachable looks like.
AWAY = (
    *(OperationalError, psycopg.OperationalError),
    *(BrokerError, RedisError),
    *(StorageUnavailableError, OSError),
)


def tick(engine: Engine, queue: CeleryQueue) -> None:
    """One round of everything, each part in its own transactions."""
    with engine.begin() as connection:
        reaped = attempts.reap(connection)
    if reaped:
        metrics.LEASES_EXPIRED.inc(reaped)
        logger.warning("reaped %d expired leases", reaped)
    with engine.begin() as connection:
        late = attempts.end_overdue(connection)
    if late:
        metrics.JOBS_OVERDUE.inc(late)
        logger.info("ended %d jobs past their time limits", late)
    with engine.begin() as connection:
        stranded = waiting.warn(connection)
    if stranded:
        logger.warning("%d jobs wait for workers that nobody hears of", stranded)
    with engine.begin() as connection:
        lost = dispatch.recover_lost(connection, queue)
    if lost:
        metrics.MESSAGES.labels("lost").inc(lost)
        logger.warning("sending %d messages again that the broker has lost", lost)
    sent = dispatch.BATCH
    while sent == dispatch.BATCH:
        with engine.begin() as connection:
            sent = dispatch.relay(connection, queue)
        metrics.MESSAGES.labels("sent").inc(sent)


def tidy(
    engine: Engine, store: ArtifactStore, kept: CheckpointStore, age: timedelta | None = None
) -> None:
    """Discard files that have become too old or belong to no job, and answers kept for replays."""
    with engine.begin() as connection:
        idempotency.forget_old(connection)
        shards.forget_ended(connection)
    if age is not None:
        with engine.begin() as connection:
            if expired := keeping.expire(connection, age):
                logger.info("the files of %d jobs have expired", len(expired))
    with engine.begin() as connection:
        discarded = discard_leftovers(connection, store)
    if discarded:
        metrics.SWEPT.labels("files").inc(discarded)
        logger.info("discarded the files of %d attempts", discarded)
    with engine.begin() as connection:
        ended = sweep_checkpoints(connection, kept)
    if ended:
        metrics.SWEPT.labels("checkpoints").inc(ended)
        logger.info("discarded the checkpoints of %d ended jobs", ended)


def run(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set; wakes on new outbox rows, and at the interval at the latest."""
    engine = make_engine(settings.database.url, pool_size=12)
    queue = CeleryQueue(settings.queue.url)
    store = open_store(settings.storage.dir, settings.storage.url, settings.storage.endpoint)
    kept = CheckpointStore(settings.checkpoints.dir)
    age = timedelta(days=settings.storage.keep_days) if settings.storage.keep_days else None
    sender = Sender(allow_loopback=settings.webhooks.allow_loopback)
    interval = settings.maintenance.interval_seconds
    delivering = threading.Thread(
        target=deliver.run, args=(engine, sender, stop, interval), name="webhooks"
    )
    places = settings.publishing.destinations
    publishing = threading.Thread(
        # A push that is under way is left to the next process: it may take hours.
        target=publish.run,
        args=(engine, store, places, stop, interval),
        name="publishing",
        daemon=True,
    )
    next_tidy = time.monotonic()
    wake = _Listener(settings.database.url)
    delivering.start()
    publishing.start()
    try:
        while not stop.is_set():
            _guarded(lambda: tick(engine, queue))
            if time.monotonic() >= next_tidy:
                _guarded(lambda: tidy(engine, store, kept, age))
                next_tidy = time.monotonic() + TIDY_SECONDS
            if not _guarded(lambda: wake.wait(interval)):
                stop.wait(interval)
    finally:
        stop.set()
        delivering.join()
        publishing.join(timeout=1)
        sender.close()
        wake.close()
        queue.close()
        engine.dispose()


def _guarded(step: Callable[[], None]) -> bool:
    """Run a step; a service that is away is logged and met again next round."""
    try:
        step()
    except AWAY as error:
        metrics.UNREACHABLE.inc()
        logger.warning("a service is not reachable: %s", error)
        return False
    return True


class _Listener:
    """Waits for the NOTIFY that every new outbox row sends on commit."""

    def __init__(self, url: str) -> None:
        parts = make_url(url).set(drivername="postgresql")
        self._conninfo = parts.render_as_string(hide_password=False)
        self._connection: psycopg.Connection | None = None

    def wait(self, timeout: float) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._conninfo, autocommit=True)
                self._connection.execute(f"LISTEN {outbox.CHANNEL}")
                return  # rows written before the LISTEN are picked up by a round at once
            for _ in self._connection.notifies(timeout=timeout, stop_after=1):
                pass
        except psycopg.OperationalError:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def main() -> None:
    """Run with the environment's settings until SIGTERM or SIGINT."""
    settings = Settings()
    telemetry = settings.telemetry
    logs.configure("secateur-maintenance", telemetry.log_format, telemetry.log_level)
    flush = traces.configure("secateur-maintenance", telemetry.otlp_endpoint)
    hide = exposition.serve(telemetry.metrics_host, telemetry.metrics_port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings, stop)
    hide()
    flush()


if __name__ == "__main__":
    main()
