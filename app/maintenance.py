"""The maintenance process: relays the outbox, recovers lost messages, reaps leases, tidies.

`python -m app.maintenance`. Any number may run: rows are taken with SKIP LOCKED.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial

import psycopg
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, make_url

from app.db import clock, leases, outbox, projects, quarantine, shards, webhooks
from app.db import retention as old
from app.db.engine import AWAY as DATABASE_AWAY
from app.db.engine import make_engine
from app.domain.quarantine import Loop
from app.errors import StorageUnavailableError
from app.planning.machines import SILENT
from app.process import prepare
from app.queue import CeleryQueue
from app.services.jobs import attempts, relay, stranded
from app.services.jobs.garbage_collection import (
    discard_abandoned,
    sweep_checkpoints,
    sweep_datasets,
)
from app.services.lifecycle import retention
from app.services.publications.publisher import AT_ONCE, Publisher
from app.services.quarantine import Guard
from app.services.webhooks import delivery
from app.services.webhooks.lineage import Lineage
from app.settings import Settings
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.names import some
from app.storage.store import ArtifactStore, open_store
from app.telemetry import exposition, logs, traces
from app.telemetry.metrics import maintenance
from app.webhooks.sender import Sender

logger = logging.getLogger("secateur.maintenance")

TIDY_SECONDS = 600.0
BATCH = 100
TIDY_BATCH = 5000  # rows of a table in one transaction
# What a database, a broker or an artifact store that is not reachable looks like.
AWAY = (
    *DATABASE_AWAY,
    *(BrokerError, RedisError),
    *(StorageUnavailableError, ConnectionError, TimeoutError),
)
Step = Callable[[Guard], None]


def tick(engine: Engine, queue: CeleryQueue, stop: threading.Event | None = None) -> None:
    """One round of everything that is never late, each item in a transaction of its own.

    Raises:
        Exception: one of `AWAY`.
    """
    guard = Guard(engine, stop, AWAY)
    steps: dict[Loop, Step] = {
        Loop.CLOCK: _watch_clock,
        Loop.REAP: _reap,
        Loop.OVERDUE: _end_overdue,
        Loop.WARN: _warn,
        Loop.RECOVER: partial(_recover, queue=queue),
        Loop.RELAY: partial(_relay, queue=queue),
    }
    _rounds(guard, steps)


def _rounds(guard: Guard, steps: Mapping[Loop, Step]) -> None:
    """One round of each loop; a broker or a store that is away keeps no other loop from its own."""
    away = list[Exception]()
    for loop, step in steps.items():
        try:
            guard.round(loop, partial(step, guard))
        except DATABASE_AWAY:
            raise
        except AWAY as error:
            away.append(error)
    if away:
        raise away[0]


def _watch_clock(guard: Guard) -> None:
    with guard.engine.begin() as connection:
        back = clock.watch(connection)
    if back:
        logger.warning("the database's clock went back by %s; what waits was brought forward", back)


def _reap(guard: Guard) -> None:
    with guard.engine.connect() as connection:
        dead = leases.all_expired(connection, limit=BATCH)
    if reaped := _done(guard, Loop.REAP, dead, attempts.reap):
        maintenance.LEASES_EXPIRED.inc(reaped)
        logger.warning("reaped %d expired leases", reaped)


def _end_overdue(guard: Guard) -> None:
    with guard.engine.connect() as connection:
        late = leases.all_overdue(connection, limit=BATCH)
    if ended := _done(guard, Loop.OVERDUE, late, attempts.end_overdue):
        maintenance.JOBS_OVERDUE.inc(ended)
        logger.info("ended %d jobs past their time limits", ended)


def _warn(guard: Guard) -> None:
    with guard.engine.connect() as connection:
        waiting = outbox.stranded(connection, SILENT, limit=BATCH)
    if told := _done(guard, Loop.WARN, waiting, stranded.warn):
        logger.warning("%d jobs wait for workers that nobody hears of", told)


def _recover(guard: Guard, queue: CeleryQueue) -> None:
    if lost := relay.recover_lost(guard, queue):
        maintenance.MESSAGES.labels("lost").inc(lost)
        logger.warning("sending %d messages again that the broker has lost", lost)


def _relay(guard: Guard, queue: CeleryQueue) -> None:
    sent = relay.BATCH
    while sent == relay.BATCH:
        sent = relay.relay(guard, queue)
        maintenance.MESSAGES.labels("sent").inc(sent)


def tidy(
    engine: Engine,
    store: ArtifactStore,
    checkpoints: CheckpointStore,
    datasets: DatasetStore,
    *,
    message_age: timedelta = timedelta(days=30),
    stop: threading.Event | None = None,
) -> None:
    """Discard what belongs to no job, and what is kept beside jobs for some time.

    Args:
        engine: the database.
        store: of artifacts.
        checkpoints: checkpoints of running jobs.
        datasets: the uploaded ones.
        message_age: of messages to webhooks that are forgotten.
        stop: once it is set, no further item is begun.

    Raises:
        Exception: one of `AWAY`.
    """
    guard = Guard(engine, stop, AWAY)
    steps: dict[Loop, Step] = {
        Loop.TIDY: partial(_forget, message_age=message_age),
        Loop.FILES: partial(_discard_files, store=store),
        Loop.CHECKPOINTS: partial(_discard_checkpoints, checkpoints=checkpoints),
        Loop.DATASETS: partial(_discard_datasets, store=datasets),
    }
    _rounds(guard, steps)


def _forget(guard: Guard, message_age: timedelta) -> None:
    for forget in (projects.forget_old_requests, shards.forget_ended, quarantine.forget_gone):
        with guard.engine.begin() as connection:
            forget(connection)
    for tidied in (partial(webhooks.forget_old_deliveries, age=message_age), outbox.adopt):
        done = TIDY_BATCH
        while done == TIDY_BATCH:
            with guard.engine.begin() as connection:
                done = tidied(connection, limit=TIDY_BATCH)


def retire(
    engine: Engine,
    *,
    files: timedelta | None = None,
    rows: timedelta | None = None,
    stop: threading.Event | None = None,
) -> bool:
    """Give up some of the files, and delete some of the jobs and sweeps, that are too old.

    Args:
        engine: the database.
        files: after a job's end, that its files are kept; None keeps them.
        rows: after their end, that jobs and sweeps are kept.
        stop: once it is set, no further item is begun.

    Returns:
        Whether there may be more of them: little is done at a time, as other work waits.

    Raises:
        Exception: one of `AWAY`.
    """
    guard, more = Guard(engine, stop, AWAY), set[Loop]()
    ages = {Loop.EXPIRE: files, Loop.DELETE_JOBS: rows, Loop.DELETE_SWEEPS: rows}

    def step(guard: Guard, loop: Loop, age: timedelta) -> None:
        found, handle, told = _RETIRED[loop]
        with guard.engine.connect() as connection:
            ids = found(connection, age, limit=BATCH)
        done = _done(guard, loop, ids, lambda connection, each: handle(connection, age, each))
        if done:
            logger.info(told, done)
        if done and len(ids) == BATCH:
            more.add(loop)

    steps: dict[Loop, Step] = {
        loop: partial(step, loop=loop, age=age) for loop, age in ages.items() if age is not None
    }
    _rounds(guard, steps)
    return bool(more)


_RETIRED = {
    Loop.EXPIRE: (old.jobs_with_old_files, retention.expire, "the files of %d jobs have expired"),
    Loop.DELETE_JOBS: (old.old_jobs, retention.delete_job, "deleted %d jobs for their age"),
    Loop.DELETE_SWEEPS: (old.old_sweeps, retention.delete_sweep, "deleted %d sweeps for age"),
}


def _age(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None


def _discard_files(guard: Guard, store: ArtifactStore) -> None:
    found = store.attempts()
    _tell_foreign("files", found.foreign)
    if discarded := discard_abandoned(guard, store, found):
        maintenance.SWEPT.labels("files").inc(discarded)
        logger.info("discarded the files of %d attempts", discarded)


def _discard_checkpoints(guard: Guard, checkpoints: CheckpointStore) -> None:
    found = checkpoints.jobs()
    _tell_foreign("checkpoints", found.foreign)
    if ended := sweep_checkpoints(guard, checkpoints, found):
        maintenance.SWEPT.labels("checkpoints").inc(ended)
        logger.info("discarded the checkpoints of %d ended jobs", ended)


def _discard_datasets(guard: Guard, store: DatasetStore) -> None:
    found = store.stored()
    _tell_foreign("datasets", found.foreign)
    if gone := sweep_datasets(guard, store, found):
        maintenance.SWEPT.labels("datasets").inc(gone)
        logger.info("discarded %d deleted data sets", gone)


def _tell_foreign(kind: str, names: Collection[str]) -> None:
    maintenance.FOREIGN.labels(kind).set(len(names))
    if names:
        logger.warning("left alone among the %s: %s", kind, some(names))


def _done(
    guard: Guard, loop: Loop, ids: Sequence[str], handle: Callable[[Connection, str], bool]
) -> int:
    """Handle each item in a transaction of its own; returns how many there was something to do."""

    def one(item: str) -> bool:
        with guard.engine.begin() as connection:
            return handle(connection, item)

    return sum(guard.each(loop, ids, one))


def run(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set; wakes on new outbox rows, and at the interval at the latest."""
    engine = make_engine(settings.database.url, pool_size=16)
    queue = CeleryQueue(settings.queue.url)
    store = open_store(settings.storage.dir, settings.storage.url, settings.storage.endpoint)
    kept = CheckpointStore(settings.checkpoints.dir)
    datasets = DatasetStore(settings.storage.dir)
    files, rows = _age(settings.storage.keep_days), _age(settings.maintenance.keep_jobs_days)
    hooks = settings.webhooks
    sender = Sender(hooks.networks, hooks.deadline_seconds)
    patience = timedelta(hours=hooks.disable_after_hours)
    message_age = timedelta(days=hooks.keep_days)
    told = settings.lineage
    lineage = Lineage(told.url, told.namespace, told.api_key)
    deliverer = delivery.Deliverer(engine, sender, patience=patience, lineage=lineage)
    interval = settings.maintenance.interval_seconds
    delivering = threading.Thread(
        target=delivery.run, args=(deliverer, sender, stop, interval), name="webhooks"
    )
    publisher = Publisher(engine, store, settings.publishing.destinations)
    publishing = [
        # A push that is under way is left to the next process: it may take hours.
        threading.Thread(
            target=publisher.run, args=(stop, interval), name="publishing", daemon=True
        )
        for _ in range(AT_ONCE)
    ]
    next_tidy = next_retirement = time.monotonic()
    wake = _Listener(settings.database.url)
    for thread in (delivering, *publishing):
        thread.start()
    try:
        while not stop.is_set():
            _guarded(lambda: tick(engine, queue, stop))
            if time.monotonic() >= next_tidy:
                _guarded(lambda: lineage.enrol(engine))
                _guarded(
                    lambda: tidy(engine, store, kept, datasets, message_age=message_age, stop=stop)
                )
                next_tidy = time.monotonic() + TIDY_SECONDS
            if time.monotonic() >= next_retirement:
                left = list[bool]()
                _guarded(
                    lambda: left.append(retire(engine, files=files, rows=rows, stop=stop))  # noqa: B023
                )
                next_retirement = time.monotonic() + (0 if any(left) else TIDY_SECONDS)
            if not _guarded(lambda: wake.wait(interval)):
                stop.wait(interval)
    finally:
        stop.set()
        delivering.join()
        wake.close()
        queue.close()
        engine.dispose()


def _end_in_time(stop: threading.Event, seconds: float) -> None:
    """Once `stop` is set, end the process after so many seconds, whatever still hangs.

    Nothing is lost by that: all that maintenance does is transactions and leases.
    """
    stop.wait()
    time.sleep(seconds)
    logger.warning("maintenance did not end within %g s; the next one goes on from here", seconds)
    logging.shutdown()
    os._exit(0)


def _guarded(step: Callable[[], None]) -> bool:
    """Run a step; a service that is away is logged and met again next round."""
    try:
        step()
    except AWAY as error:
        maintenance.UNREACHABLE.inc()
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
    prepare(settings)
    logs.configure("secateur-maintenance", telemetry.log_format, telemetry.log_level)
    flush = traces.configure("secateur-maintenance", telemetry.otlp_endpoint)
    hide = exposition.serve(telemetry.metrics_host, telemetry.metrics_port)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    grace = settings.maintenance.grace_seconds
    threading.Thread(target=_end_in_time, args=(stop, grace), name="grace", daemon=True).start()
    run(settings, stop)
    hide()
    flush()


if __name__ == "__main__":
    main()
