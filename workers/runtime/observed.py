"""What an attempt says about itself: ids in its log lines, counts, times and spans."""

import logging
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from opentelemetry import trace

from app.domain.jobs import EventType, Job, NewEvent, Phase
from app.telemetry.context import working_on
from app.telemetry.metrics import worker
from app.telemetry.traces import context_of, tracer

logger = logging.getLogger("secateur.worker")


class Observed:
    """Accompanies one attempt; its spans hang below the request that submitted the job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._method = str(job.spec["method"])
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
