"""The process beside a worker's child: ends the child once its right to go on has ended.

`python -m workers.runtime.watchdog`, started by `Watch` with the line on its standard input. It
never computes and shares nothing with the child but that pipe, so it goes on whatever the child
does: stopped, waiting for a disk for ever, or in native code that keeps the GIL.
"""

import json
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import jobs, leases
from app.db.engine import make_engine
from app.db.transactions import transact
from app.domain.jobs import FailureKind, Job, JobError, Lease
from app.services.jobs import attempts
from app.services.jobs.garbage_collection import discard_unowned
from app.settings import Settings
from app.storage.store import ArtifactStore, open_store
from app.telemetry import logs
from app.telemetry.metrics.worker import KILLED
from workers.runtime.watchdog.rights import Reason, Rights, Task

logger = logging.getLogger("secateur.watchdog")

_LINE = 0  # standard input
_LOOK = 1.0  # seconds between two looks
_LONGEST_LOOK = 5.0  # what is counted of a look that took longer: this machine was stopped
_HAND_BACK = 2.0  # seconds for the database before the child is ended
_TIDY = 30.0  # seconds for database and storage after it


class Watchdog:
    """Watches one child, this process's parent."""

    def __init__(
        self, engine: Engine, open_files: Callable[[], ArtifactStore], rights: Rights
    ) -> None:
        """Look at nothing yet.

        Args:
            engine: of the database.
            open_files: opens the store that holds what attempts leave.
            rights: the rules.
        """
        self._engine = engine
        self._open_files = open_files
        self._rights = rights
        self._child = os.getppid()
        self._now = self._before = 0.0
        self._rest = b""
        self._seen: tuple[Task, Lease | None, float] | None = None

    def run(self) -> None:
        """Return once the child has ended by itself or was ended."""
        # A database that does not answer must not keep this loop from its other rules.
        threading.Thread(target=self._look_for_ever, name="look", daemon=True).start()
        self._before = time.monotonic()
        while self._listen():
            if (seen := self._seen) is not None:
                self._rights.looked(*seen)
            if reason := self._rights.due(self._now):
                self._end(reason)
                return

    def _listen(self) -> bool:
        """Hear what the child says, for up to a second; False once it is gone."""
        ready = select.select([_LINE], [], [], _LOOK)[0]
        now = time.monotonic()
        self._now += min(now - self._before, _LONGEST_LOOK)
        self._before = now
        if ready:
            if not (heard := os.read(_LINE, 1 << 16)):
                return False
            self._hear(heard)
        return os.getppid() == self._child

    def _hear(self, heard: bytes) -> None:
        if bytes([signal.SIGTERM]) in heard:
            self._rights.asked_to_end(self._now)
        text = bytes(each for each in heard if each >= ord(" ") or each == ord("\n"))
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            for kind, value in json.loads(line).items():
                self._take(kind, value)

    def _take(self, kind: str, value: Any) -> None:
        match kind, value:
            case "begins", [job_id, attempt, own]:
                self._rights.begins(Task(job_id, attempt, own), self._now)
            case "plans", float(step):
                self._rights.plans(step, self._now)
            case "moves", _:
                self._rights.moves(self._now)
            case "ends", _:
                self._rights.ends()

    def _look_for_ever(self) -> None:
        while True:
            task = self._rights.task
            if task is not None and task.job_id is not None:
                began = self._now
                self._seen = task, self._look(task.job_id, task.attempt), began
            time.sleep(_LOOK)

    def _look(self, job_id: str, attempt: int) -> Lease | None:
        try:
            with self._engine.connect() as connection:
                return leases.state(connection, job_id, attempt)
        except SQLAlchemyError:  # the child says so, too
            return None

    def _end(self, reason: Reason) -> None:
        task = self._rights.task
        told = {"reason": reason.value, "job_id": task.job_id if task else None}
        KILLED.labels(reason).inc()
        logger.error("ending process %d: %s", self._child, _SENTENCES[reason], extra=told)
        if task is None or task.job_id is None or not task.own:
            self._kill()
        elif reason is Reason.DRAINED:
            # A container ends with its worker, and this process with it: there is no later.
            _within(_HAND_BACK, lambda: self._close_attempt(task, reason))
            self._kill()
        else:
            self._kill()
            _within(_TIDY, lambda: self._close_attempt(task, reason))
            _within(_TIDY, lambda: self._discard(task))

    def _kill(self) -> None:
        """End the child and what it started."""
        with suppress(psutil.NoSuchProcess):
            child = psutil.Process(self._child)
            below = [each for each in child.children(recursive=True) if each.pid != os.getpid()]
            if os.getppid() == self._child:  # its number may belong to somebody else by now
                child.kill()
            for each in below:
                with suppress(psutil.NoSuchProcess):
                    each.kill()

    def _close_attempt(self, task: Task, reason: Reason) -> None:
        def close(connection: Connection) -> None:
            job = jobs.find(connection, str(task.job_id))
            if job is None or job.attempt != task.attempt:
                return
            _CLOSING[reason](connection, job)

        transact(self._engine, close, seconds=_TIDY)

    def _discard(self, task: Task) -> None:
        attempt = [(str(task.job_id), task.attempt)]
        with self._engine.begin() as connection:
            discard_unowned(connection, self._open_files(), attempt)


def _give_back_stalled(connection: Connection, job: Job) -> None:
    message = f"attempt {job.attempt} made no progress and was ended"
    attempts.retry(connection, job, JobError(FailureKind.SYSTEM, "no_progress", message), log=())


_SENTENCES = {
    Reason.CANCELLED: "its job was cancelled and it goes on",
    Reason.LOST: "its job has ended or is another worker's and it goes on",
    Reason.STALLED: "it makes no progress",
    Reason.DRAINED: "it was asked to end and is in the middle of a block",
}
_CLOSING: dict[Reason, Callable[[Connection, Job], None]] = {
    Reason.CANCELLED: attempts.end_cancelled,
    Reason.LOST: lambda _connection, _job: None,  # whoever took it has written it down
    Reason.STALLED: _give_back_stalled,
    Reason.DRAINED: lambda connection, job: attempts.hand_back(connection, job, log=()),
}


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do it in a thread that is left alone when its time is over; maintenance does it then."""

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  nobody is above to tell
            logger.warning("left to maintenance: %s", error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)


def main() -> None:
    """Watch the parent process with the environment's settings until it ends."""
    settings = Settings()
    worker, storage = settings.worker, settings.storage
    logs.configure("secateur-worker", settings.telemetry.log_format, settings.telemetry.log_level)
    engine = make_engine(settings.database.url, pool_size=2)
    rights = Rights(
        bound=worker.kill_seconds, drain=worker.drain_seconds, stall=worker.stall_seconds
    )
    Watchdog(engine, lambda: open_store(storage.dir, storage.url, storage.endpoint), rights).run()
    logging.shutdown()
    os._exit(0)  # a thread may still wait for a database


if __name__ == "__main__":
    main()
