"""Jobs, events and artifacts on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from app.domain.allocation_scores import AllocationScores
from app.domain.jobs import (
    Artifact,
    Event,
    EventLevel,
    EventType,
    FailureKind,
    Job,
    JobStatus,
    Phase,
)
from app.domain.submission import JobSpec


class JobErrorOut(BaseModel):
    """Why a job failed."""

    kind: FailureKind
    code: str
    message: str


class JobOut(JobSpec):
    """One job."""

    # One number per matrix and batch: the report of the job they come from has them.
    scores: AllocationScores | None = Field(default=None, exclude=True)
    id: str
    status: JobStatus
    phase: Phase | None
    progress: float
    attempt: int
    max_attempts: int
    error: JobErrorOut | None
    result: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """The wire form of a stored job: its specification and its state side by side."""
        state = asdict(job)
        return cls(**state.pop("spec"), **state)


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]
    next_cursor: str | None


class EventOut(BaseModel):
    """One entry of a job's event log."""

    id: int
    attempt: int
    at: datetime
    level: EventLevel
    type: EventType
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        """The wire form of a stored event."""
        return cls.model_validate(asdict(event))


class EventPage(BaseModel):
    """Events, oldest first; ask again with `after` = the last id."""

    events: list[EventOut]


class ArtifactOut(BaseModel):
    """One published file."""

    path: str
    size: int
    sha256: str
    media_type: str

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """The wire form of a published file."""
        return cls.model_validate(asdict(artifact))


class ArtifactList(BaseModel):
    """All published files of a job."""

    artifacts: list[ArtifactOut]
