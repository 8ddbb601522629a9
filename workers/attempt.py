"""One attempt at a job: keeps the lease alive and carries progress and events to the database."""

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.domain.jobs import Artifact, EventType, Job, JobError, Lease, NewEvent, Phase
from app.services import attempts
from app.telemetry.metrics.worker import HEARTBEATS
from workers.drain import Drain
from workers.observed import Observed
from workers.pipeline.context import DrainingError, StoppedError

logger = logging.getLogger("secateur.worker")

_LOOK = 0.25  # seconds between two looks at whether the process should end


class Attempt:
    """The live side of a claimed job; a reporter for the pipeline.

    A thread extends the lease every `heartbeat` seconds, and with it stores what was reported
    since. Whether to go on is learnt on the way: the pipeline's next report raises
    `StoppedError` once a client has cancelled, once the lease was given to somebody else, or once
    the process was asked to end. Where the report is too long in coming, the thread gives the job
    back by itself and ends the process.
    """

    def __init__(
        self, engine: Engine, job: Job, drain: Drain, *, lease: float, heartbeat: float
    ) -> None:
        self.job = job
        self._engine = engine
        self._drain = drain
        self._lease = timedelta(seconds=lease)
        self._heartbeat = heartbeat
        self._phase = Phase.LOADING
        self._progress = 0.0
        self._log: list[NewEvent] = []
        self._lock = threading.Lock()
        self._state = Lease.HELD
        self._kept = False
        self._ended = threading.Event()
        self._observed = Observed(job)

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        self._observed.__enter__()
        # The thread's log lines carry the ids that are bound here.
        beat = partial(copy_context().run, self._beat)
        self._thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat."""
        self._ended.set()
        self._thread.join()
        self._observed.__exit__(kind, error, trace)

    def phase(self, phase: Phase) -> None:
        """Enter a phase."""
        self.event(NewEvent(EventType.PHASE, phase.value))
        self._observed.phase(phase)
        self._phase = phase
        self._flush()
        self.check()

    def progress(self, share: float) -> None:
        """Tell how much of the whole job is done, 0 to 1."""
        self._progress = share
        self.check()

    def event(self, event: NewEvent) -> None:
        """Add an entry to the job's event log."""
        self._observed.event(event)
        with self._lock:
            self._log.append(event)

    def check(self) -> None:
        """Raise `StoppedError` where the attempt should not go on."""
        if self._state is not Lease.HELD:
            raise StoppedError(self._state)
        if self._drain.asked:
            raise DrainingError

    def kept(self) -> None:
        """Tell that something finished is kept; once per attempt is enough."""
        if self._kept:
            return
        try:
            with self._engine.begin() as connection:
                attempts.kept(connection, self.job)
        except SQLAlchemyError as error:  # the next block tells it
            logger.warning("%s keeps blocks but cannot say so: %s", self.job.id, error)
        else:
            self._kept = True

    def succeed(self, result: dict[str, Any], files: Sequence[Artifact]) -> bool:
        """Commit the result; False where the job was cancelled or lost meanwhile."""
        with self._lock, self._engine.begin() as connection:
            stored = attempts.succeed(
                connection, self.job, result=result, files=files, log=self._take()
            )
        if stored:
            self._observed.ended("succeeded")
        return stored

    def fail(
        self,
        error: JobError,
        result: dict[str, Any] | None = None,
        files: Sequence[Artifact] = (),
    ) -> bool:
        """End the job with an error that would come again; True where it did end as failed.

        A job that its quality gate refused has a result all the same, and files if it asked so.
        """
        with self._lock, self._engine.begin() as connection:
            stored = attempts.fail(
                connection, self.job, error, log=self._take(), result=result, files=files
            )
        if stored:
            self._observed.ended("failed", error.code)
        return stored

    def retry(self, error: JobError) -> None:
        """Give the job back after a fault that may pass."""
        with self._lock, self._engine.begin() as connection:
            attempts.retry(connection, self.job, error, log=self._take())
        self._observed.ended("faulted", error.code)

    def hand_back(self) -> None:
        """Give the job back because this process ends, which is not the job's fault."""
        with self._lock, self._engine.begin() as connection:
            attempts.hand_back(connection, self.job, log=self._take())
        self._observed.ended("handed_back")

    def end_cancelled(self) -> None:
        """End the job as cancelled, if that is what a client asked for."""
        with self._lock, self._engine.begin() as connection:
            attempts.end_cancelled(connection, self.job, log=self._take())

    def _take(self) -> list[NewEvent]:
        taken, self._log = self._log, []
        return taken

    def _beat(self) -> None:
        due = time.monotonic() + self._heartbeat
        while not self._ended.wait(min(_LOOK, self._heartbeat)):
            if self._drain.overdue:
                self._leave()
            if time.monotonic() >= due:
                self._flush()
                due = time.monotonic() + self._heartbeat

    def _leave(self) -> None:
        """End the process from here: the block at work takes longer than there is time."""
        try:
            self.hand_back()
        except SQLAlchemyError as error:
            logger.warning("%s goes back when its lease ends: %s", self.job.id, error)
        logger.warning("ending in the middle of a block of %s", self.job.id)
        os._exit(0)

    def _flush(self) -> None:
        with self._lock:
            log = self._take()
            try:
                with self._engine.begin() as connection:
                    self._state = attempts.heartbeat(
                        connection,
                        self.job,
                        lease=self._lease,
                        phase=self._phase,
                        progress=self._progress,
                        log=log,
                    )
            except SQLAlchemyError as error:
                # The database may be away for a moment; if it stays away longer than the lease,
                # the fencing token keeps this attempt from writing anything.
                logger.warning("heartbeat of %s failed: %s", self.job.id, error)
                self._log = log + self._log
                HEARTBEATS.labels("unreachable").inc()
            else:
                HEARTBEATS.labels(self._state).inc()
