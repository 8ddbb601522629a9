"""One attempt at a job: keeps the lease alive, writes progress and events, and is observed.

`Attempt` carries what the pipeline reports to the database; `Observed` turns the same reports into
log lines, metrics and spans.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from opentelemetry import trace
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db.transactions import transact
from app.domain.job_result import JobResult
from app.domain.jobs import Artifact, EventType, Job, JobError, Lease, NewEvent, Phase
from app.services.jobs import attempts
from app.telemetry.metrics import worker
from app.telemetry.metrics.worker import HEARTBEATS
from app.telemetry.traces import context_of, tracer, working_on
from workers.pipeline.context import DrainingError, StoppedError
from workers.runtime.watchdog.watch import Drain, Watch

logger = logging.getLogger("secateur.worker")


class Observed:
    """Accompanies one attempt; its spans hang below the request that submitted the job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._method = job.method
        self._told = False
        self._phase: Phase | None = None
        self._phase_began = self._block_began = 0.0
        self._phase_span: trace.Span = trace.INVALID_SPAN
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Bind the ids, open the attempt's span."""
        # Whose message woke us: most of the time, but not always, this job's own.
        woken_by = trace.get_current_span().get_span_context()
        self._stack.enter_context(working_on(self._job.id, self._job.attempt, self._job.origin))
        self._span = self._stack.enter_context(
            tracer.start_as_current_span(
                "attempt",
                context=context_of(self._job.origin),
                links=[trace.Link(woken_by)] if woken_by.is_valid else [],
                attributes={
                    "secateur.job_id": self._job.id,
                    "secateur.attempt": self._job.attempt,
                    "secateur.method": self._method,
                },
            )
        )
        logger.info("attempt starts", extra={"method": self._method})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the spans; an end that nobody told of is one from outside."""
        self._end_phase()
        if not self._told:
            self.ended("stopped")
        self._stack.close()

    def phase(self, phase: Phase) -> None:
        """A phase begins; the one before has ended."""
        self._end_phase()
        self._phase, self._phase_began = phase, time.monotonic()
        self._block_began = self._phase_began
        self._phase_span = tracer.start_span(phase)

    def event(self, event: NewEvent) -> None:
        """The pipeline told something."""
        if event.type is EventType.BLOCK:
            now = time.monotonic()
            worker.BLOCK_SECONDS.labels(self._method).observe(now - self._block_began)
            self._block_began = now
        self._phase_span.add_event(event.message)

    def ended(self, outcome: str, code: str = "") -> None:
        """The attempt's end is in the database; this process may end right after."""
        self._told = True
        worker.ATTEMPTS.labels(self._method, outcome, code).inc()
        self._span.set_attributes({"secateur.outcome": outcome, "secateur.error_code": code})
        logger.info("attempt ended", extra={"outcome": outcome, "code": code})

    def _end_phase(self) -> None:
        if self._phase is not None:
            seconds = time.monotonic() - self._phase_began
            worker.PHASE_SECONDS.labels(self._method, self._phase).observe(seconds)
        self._phase_span.end()


T = TypeVar("T")

_LOOK = 0.25  # seconds between two looks at whether a wait is over
_SHORT = 5.0  # seconds of patience where the next report does as well


class Attempt:
    """The live side of a claimed job; a reporter for the pipeline.

    A thread extends the lease every `heartbeat` seconds, and with it stores what was reported
    since. Whether to go on is learnt on the way: the pipeline's next report raises
    `StoppedError` once a client has cancelled, once the lease was given to somebody else, or once
    the process was asked to end. Where the report is too long in coming, the watchdog ends the
    process.
    """

    def __init__(
        self,
        engine: Engine,
        job: Job,
        drain: Drain,
        watch: Watch,
        *,
        lease: float,
        heartbeat: float,
    ) -> None:
        self.job = job
        self._engine = engine
        self._drain = drain
        self._watch = watch
        self._lease = timedelta(seconds=lease)
        self._heartbeat = heartbeat
        self._phase = Phase.LOADING
        self._progress = 0.0
        self._log: list[NewEvent] = []
        self._logging = threading.Lock()
        self._writing = threading.Lock()
        self._state = Lease.HELD
        self._kept = False
        self._ended = threading.Event()
        self._observed = Observed(job)

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        self._watch.begins(self.job.id, self.job.attempt)
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
        self._watch.begins()  # what is left to do belongs to no job
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

    def plan(self, seconds: float) -> None:
        """Tell how long the longest step should take."""
        self._watch.plans(seconds)

    def event(self, event: NewEvent) -> None:
        """Add an entry to the job's event log."""
        self._watch.moves()
        self._observed.event(event)
        with self._logging:
            self._log.append(event)

    def check(self) -> None:
        """Report progress; raises `StoppedError` where the attempt should end."""
        self._watch.moves()
        self._raise_if_stopped()

    def wait(self, seconds: float) -> None:
        """Wait; raises as `check` does, at once. Does not count as progress."""
        until = time.monotonic() + seconds
        self._raise_if_stopped()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
            self._raise_if_stopped()

    def kept(self) -> None:
        """Report that a finished block is kept; stored once per attempt."""
        self._watch.moves()
        if self._kept:
            return
        try:
            transact(self._engine, partial(attempts.note_progress, job=self.job), seconds=_SHORT)
        except SQLAlchemyError as error:  # the next block tells it
            logger.warning("%s keeps blocks but cannot say so: %s", self.job.id, error)
        else:
            self._kept = True

    def succeed(self, result: JobResult, files: Sequence[Artifact]) -> bool:
        """Commit the result; False where the job was cancelled or lost meanwhile."""
        stored = self._close(partial(attempts.succeed, result=result, files=files))
        if stored:
            self._observed.ended("succeeded")
        return stored

    def fail(
        self,
        error: JobError,
        result: JobResult | None = None,
        files: Sequence[Artifact] = (),
    ) -> bool:
        """End the job with an error that would come again; True where it did end as failed.

        A job that its quality gate refused has a result all the same, and files if it asked so.
        """
        stored = self._close(partial(attempts.fail, error=error, result=result, files=files))
        if stored:
            self._observed.ended("failed", error.code)
        return stored

    def retry(self, error: JobError) -> None:
        """Give the job back after a fault that may pass."""
        self._close(partial(attempts.retry, error=error))
        self._observed.ended("faulted", error.code)

    def hand_back(self) -> None:
        """Give the job back because this process ends, which is not the job's fault."""
        self._close(attempts.hand_back)
        self._observed.ended("handed_back")

    def end_cancelled(self) -> None:
        """End the job as cancelled, if that is what a client asked for."""
        self._close(attempts.end_cancelled)

    def _close(self, close: Callable[..., T]) -> T:
        """End the attempt, its last events with it."""
        with self._written_log() as log:
            return transact(self._engine, partial(close, job=self.job, log=log))

    def _raise_if_stopped(self) -> None:
        if self._state is not Lease.HELD:
            raise StoppedError(self._state)
        if self._drain.asked:
            raise DrainingError

    @contextmanager
    def _written_log(self) -> Iterator[list[NewEvent]]:
        """What was reported since the last time, to be stored; by one thread at a time."""
        with self._writing:
            with self._logging:
                log, self._log = self._log, []
            try:
                yield log
            except SQLAlchemyError:
                with self._logging:
                    self._log = log + self._log
                raise

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            self._flush()

    def _flush(self) -> None:
        try:
            with self._written_log() as log:
                self._state = transact(self._engine, partial(self._extend, log), seconds=_SHORT)
        except SQLAlchemyError as error:
            # The database may be away for a moment; if it stays away longer than the lease, the
            # fencing token keeps this attempt from writing anything.
            logger.warning("heartbeat of %s failed: %s", self.job.id, error)
            HEARTBEATS.labels("unreachable").inc()
        else:
            HEARTBEATS.labels(self._state).inc()

    def _extend(self, log: Sequence[NewEvent], connection: Connection) -> Lease:
        return attempts.heartbeat(
            connection,
            self.job,
            lease=self._lease,
            phase=self._phase,
            progress=self._progress,
            log=log,
        )
