"""Jobs: the state machine, phases, events and the values that travel between layers.

```
queued --claim--> running --> succeeded | failed
   ^                |  |
   |   lost lease   |  +--cancel--> cancelling --> cancelled
   +----------------+
queued --cancel--> cancelled
```
The database row is the truth, a queue message only a hint. `attempt` is the fencing token: every
write of a worker names the attempt it was granted, and an outdated attempt writes nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


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
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
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
    """What a running job is doing, in order; evaluating comes before and after pruning."""

    LOADING = "loading"
    CALIBRATING = "calibrating"
    PRUNING = "pruning"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    VERIFYING = "verifying"
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
    """What an event tells."""

    STATUS = "status"
    PHASE = "phase"
    BLOCK = "block"
    METRIC = "metric"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An entry for a job's append-only event log."""

    type: EventType
    message: str
    level: EventLevel = EventLevel.INFO
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event; `id` grows along the log and serves as the cursor."""

    id: int
    job_id: str
    attempt: int
    at: datetime
    level: EventLevel
    type: EventType
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed."""

    kind: FailureKind
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """One pruning job as stored."""

    id: str
    status: JobStatus
    phase: Phase | None
    progress: float
    attempt: int
    max_attempts: int
    spec: dict[str, Any]
    error: JobError | None
    result: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


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
class NewJob:
    """A job about to be stored, still without an id."""

    spec: dict[str, Any]
    max_attempts: int


class Lease(StrEnum):
    """What a heartbeat learns about the attempt it belongs to."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel_requested"
    LOST = "lost"
