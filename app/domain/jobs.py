"""Jobs: the state machine, phases, events and the values that travel between layers.

```
queued --claim--> running --> succeeded | failed
   ^                |  |
   |   lost lease   |  +--cancel--> cancelling --> cancelled
   +----------------+
queued --cancel--> cancelled
queued | running --deadline--> failed
```
The database row is the truth, a queue message only a hint. `attempt` is the fencing token: every
write of a worker names the attempt it was granted, and an outdated attempt writes nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.domain.job_result import JobResult
from app.domain.projects import DEFAULT_PROJECT
from app.domain.submission import JobRequest, JobSpec
from app.errors import ConflictError
from app.messages import in_words

DEFAULT_CLASS = "cpu"
M = TypeVar("M", bound=BaseModel)


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Nothing follows this status."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.QUEUED, JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED}
    ),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


def sources(target: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses a job may leave for `target`: the guard of every conditional UPDATE."""
    return tuple(status for status in JobStatus if target in TRANSITIONS[status])


class Phase(StrEnum):
    """What a running job is doing, in order.

    Evaluating comes before and after; a router is mined for and trained in several rounds.
    """

    LOADING = "loading"
    CALIBRATING = "calibrating"
    PRUNING = "pruning"
    MINING = "mining"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    VERIFYING = "verifying"
    MEASURING = "measuring"
    PUBLISHING = "publishing"


class FailureKind(StrEnum):
    """Whose fault a failure is: `user_error` fails again, `system_error` may pass on a retry."""

    USER = "user_error"
    SYSTEM = "system_error"


class EventLevel(StrEnum):
    """How loud an event is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventType(StrEnum):
    """What an event tells; `member` is in the logs of sweeps: a job of it reached a status."""

    STATUS = "status"
    PHASE = "phase"
    BLOCK = "block"
    METRIC = "metric"
    WARNING = "warning"
    LOG = "log"
    PUBLICATION = "publication"
    MEMBER = "member"


# What the reference says of each; `data` has what programs need.
EVENT_TYPES = {
    EventType.STATUS: "The job reached the status in `data.status`; its last entry is one of "
    "these. `data.code` says why a job failed or was queued again, `data.worker` who runs it.",
    EventType.PHASE: "The attempt entered the phase that `message` names.",
    EventType.BLOCK: "Block `data.block` is done, `data.done` of `data.total`, in the part of the "
    "run that `data.phase` names; `data.modality` is the part of the model, where it is known.",
    EventType.METRIC: "`data.metric` was measured before and after pruning.",
    EventType.WARNING: "Something that does not stop the job and should be known.",
    EventType.LOG: "A line for people.",
    EventType.PUBLICATION: "A publication of the job's model moved on, or failed.",
    EventType.MEMBER: "In the log of a sweep: a job of it reached a status.",
}


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An entry for a job's append-only event log."""

    type: EventType
    message: str
    level: EventLevel = EventLevel.INFO
    data: dict[str, Any] = field(default_factory=dict)


def status_event(
    status: StrEnum,
    message: str | None = None,
    level: EventLevel = EventLevel.INFO,
    **data: Any,
) -> NewEvent:
    """The event of a job or sweep that reached a status; watchers find the status in its data."""
    return NewEvent(EventType.STATUS, message or status, level, {"status": status, **data})


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event; `id` grows along the log and serves as the cursor."""

    id: int
    attempt: int
    at: datetime
    level: EventLevel
    type: EventType
    message: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        """Nothing follows: the job, or the sweep, has ended."""
        ends = {status for status in JobStatus if status.terminal}
        return self.type is EventType.STATUS and self.data.get("status") in ends


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed."""

    kind: FailureKind
    code: str
    message: str


class JobUnreadableError(ConflictError):
    """The job was stored by another version of the service, in a form that this one cannot read."""

    code = "job_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be stored, still without an id.

    Attributes:
        request: what the client sent, for clones.
        spec: what it means, resolved.
        max_attempts: how many attempts in a row that keep nothing end the job as failed.
        origin: id and W3C trace context of the request that made it, for logs and traces.
        source_id: the job this one retries or was cloned from.
        sweep_id: the sweep it is a member of.
        leader_id: the member that measures on the dense model what this one uses again.
        worker_class: the workers that may claim it.
        memory_bytes: what it should take on its device; None while unknown.
    """

    request: JobRequest
    spec: JobSpec
    max_attempts: int
    project_id: str = DEFAULT_PROJECT
    origin: dict[str, str] = field(default_factory=dict)
    source_id: str | None = None
    sweep_id: str | None = None
    leader_id: str | None = None
    worker_class: str = DEFAULT_CLASS
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pruning job as stored; the defaults are those of a job that nobody has claimed.

    `request`, `spec` and `result` are read from what is stored when they are first asked for, so
    that a job whose stored form this version cannot read is listed, shown and deleted all the
    same. They raise `JobUnreadableError`.

    Attributes:
        model: the model to prune, as the specification names it.
        method: of the specification; a name, also where this version does not know it.
        stored_request: JSON of the request.
        stored_spec: JSON of the specification.
        stored_result: JSON of the result; None while there is none.
        max_runtime: seconds from the first start after which the job fails.
        max_pending: seconds after which it fails where it has not started.
        version: grows with the status and with what clients set, not with progress.
        fruitless: attempts in a row, this one included, that kept nothing for the next.
        worker: the process that had the last attempt.
        eta: when the running attempt should end, judged by its pace; None while unknown.

    The others are those of `NewJob`.
    """

    id: str
    created_at: datetime
    max_attempts: int
    model: str
    method: str
    stored_request: dict[str, Any]
    stored_spec: dict[str, Any]
    stored_result: dict[str, Any] | None = None
    project_id: str = DEFAULT_PROJECT
    origin: dict[str, str] = field(default_factory=dict)
    source_id: str | None = None
    sweep_id: str | None = None
    leader_id: str | None = None
    priority: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    max_runtime: int | None = None
    max_pending: int | None = None
    worker_class: str = DEFAULT_CLASS
    memory_bytes: int | None = None
    version: int = 1
    status: JobStatus = JobStatus.QUEUED
    phase: Phase | None = None
    progress: float = 0
    eta: datetime | None = None
    attempt: int = 0
    fruitless: int = 0
    worker: str | None = None
    error: JobError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    files_expired_at: datetime | None = None

    @cached_property
    def request(self) -> JobRequest:
        """What the client sent."""
        return self._read(JobRequest, self.stored_request)

    @cached_property
    def spec(self) -> JobSpec:
        """What to do, resolved."""
        return self._read(JobSpec, self.stored_spec)

    @cached_property
    def result(self) -> JobResult | None:
        """What its worker reported; None while there is none."""
        return None if self.stored_result is None else self._read(JobResult, self.stored_result)

    def _read(self, kind: type[M], stored: dict[str, Any]) -> M:
        try:
            return kind.model_validate(stored)
        except ValidationError as error:
            reason = in_words(error.errors()[0])
            raise JobUnreadableError(
                f"job {self.id!r} was stored by another version of the service, and this one "
                f"cannot read its {_PARTS[kind]}: {reason}"
            ) from error

    @property
    def etag(self) -> str:
        """The entity tag of this state."""
        return f'"{self.version}"'


_PARTS: dict[type[BaseModel], str] = {
    JobRequest: "request",
    JobSpec: "specification",
    JobResult: "result",
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One published file of a job. `path` is relative, with forward slashes."""

    job_id: str
    attempt: int
    path: str
    size: int
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of a project to list; what is None does not restrict."""

    status: JobStatus | None = None
    method: str | None = None
    model: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    sweep: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    oldest_first: bool = False


class Lease(StrEnum):
    """What a heartbeat learns about the attempt it belongs to."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel_requested"
    LOST = "lost"
