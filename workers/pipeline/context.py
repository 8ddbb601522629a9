"""What a run of the pipeline is given, and how it waits without losing its right to stop.

`RunContext` holds the specification, directories, sources of models and the reporter.
`interruptible` runs blocking calls (downloads, uploads, copies) in a thread of their own, so that a
job can be stopped while it waits for them. Do not run torch operations this way.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from app.domain.jobs import Lease, NewEvent, Phase
from app.domain.shards import Part, Shard
from app.domain.submission import JobRequest, JobSpec
from app.planning.machines import Machine
from app.recipes.allocation_scores import AllocationScores
from app.recipes.tasks import Harness


class StoppedError(Exception):
    """The run should not go on: a client cancelled, or another worker has the job now."""

    def __init__(self, reason: Lease = Lease.CANCEL_REQUESTED) -> None:
        super().__init__(reason.value)


class DrainingError(StoppedError):
    """The worker was asked to end: the job goes back to the queue as far as it has come."""


class Reporter(Protocol):
    """Who listens to a run. Every call may raise `StoppedError`."""

    def phase(self, phase: Phase) -> None:
        """Enter a phase."""

    def progress(self, share: float) -> None:
        """Tell how much of the whole job is done, 0 to 1."""

    def event(self, event: NewEvent) -> None:
        """Add an entry to the job's event log."""

    def plan(self, seconds: float) -> None:
        """Tell how long the longest step should take."""

    def check(self) -> None:
        """Tell that a piece of work is done."""

    def wait(self, seconds: float) -> None:
        """Wait; unlike every other call, this is no sign that the run gets further."""

    def kept(self) -> None:
        """Report that a finished block is kept for a later attempt."""


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """Where models may come from."""

    roots: tuple[Path, ...]
    hub_endpoint: str
    hub_cache: Path


@dataclass(frozen=True, slots=True)
class HarnessAccess:
    """The evaluation harnesses of this worker.

    Attributes:
        interpreters: Python programs that have them.
        folder: local tasks, in a directory for each harness.
        offered: tasks of the harnesses' own that jobs may name: `lm-eval/hellaswag`.
        network: whether tasks may fetch data.
        seconds: that one task may take of one model.
    """

    interpreters: Mapping[Harness, Path]
    folder: Path
    offered: tuple[str, ...]
    network: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointPlace:
    """Where a job's checkpoints lie, and how many bytes they may take."""

    directory: Path
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What the members of a sweep measure once.

    Attributes:
        statistics: content of the leader's file; None where there is none.
        keep: whether others will use what this run measures.
    """

    statistics: bytes | None = None
    keep: bool = False

    @property
    def digest(self) -> str | None:
        """SHA-256 of the statistics."""
        return None if self.statistics is None else hashlib.sha256(self.statistics).hexdigest()


class JobShards(Protocol):
    """The shards of a job's measurement as a worker sees them, in the database.

    Every call may raise an error of the database. A protocol, as the next one, because the
    pipeline knows no database: `workers.runtime.measurement` has what it is given.
    """

    def take(self) -> Shard | None:
        """The next shard to measure; None where there is none."""

    def wanted(self, shard: Shard) -> bool:
        """Whether nobody has handed it in yet."""

    def hand_in(self, shard: Shard, scores: AllocationScores) -> None:
        """Store its scores."""


class MeasurementExchange(JobShards, Protocol):
    """The same as the job's own worker sees them, which offers them and collects the scores."""

    def post(self, spec: JobSpec, parts: list[Part]) -> None:
        """Offer the parts."""

    def merged(self) -> AllocationScores | None:
        """All scores together; None while some are missing."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run of the pipeline.

    Attributes:
        spec: what to do.
        staging: an empty directory for the job's files.
        models: where models may come from.
        datasets: where uploaded data sets lie.
        checkpoints: where the job's attempts leave what they have finished.
        activation_bytes: activations to hold in memory between blocks; others wait on disk. A GPU
            holds as many of its own.
        report: who listens.
        request: what the client asked for; in the manifest, so that it can be asked for again.
        shared: what other members of the sweep have measured, or need.
        device: what `auto` is here.
        machine: this one, measured; None while it is not.
        exchange: offers shards of a measurement to other workers; None to do them all here.
        harnesses: those of this worker; None for none.
        roomy: whether activations may wait on the GPU; not where its memory ran out before.
    """

    spec: JobSpec
    staging: Path
    models: ModelAccess
    datasets: Path
    checkpoints: CheckpointPlace
    activation_bytes: int
    report: Reporter
    request: JobRequest | None = None
    shared: Shared = Shared()
    device: str = "auto"
    machine: Machine | None = None
    exchange: MeasurementExchange | None = None
    harnesses: HarnessAccess | None = None
    roomy: bool = True


T = TypeVar("T")

_NAME = "interruptible"
_LOOK = 0.05  # seconds between two looks at whether it is done
_GRACE = 5.0  # seconds for work that was stopped to end by itself


def interruptible(work: Callable[[], T], report: Reporter) -> T:
    """Run `work` in a thread and wait for it; returns or raises what `work` does.

    When the wait is stopped, the thread gets a few seconds to end and is then left to itself.

    Raises:
        StoppedError: raised by the reporter.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  it is raised where the result is wanted
            future.set_exception(error)

    # Its log lines carry the ids that are bound here.
    thread = threading.Thread(target=copy_context().run, args=(run,), name=_NAME, daemon=True)
    thread.start()
    try:
        while wait([future], timeout=_LOOK).not_done:
            report.wait(0)
    except BaseException:
        thread.join(_GRACE)
        raise
    return future.result()


def left_running() -> bool:
    """Whether a stopped call still runs: then this process should not take another job."""
    return any(thread.name == _NAME for thread in threading.enumerate())
