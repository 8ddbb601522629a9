"""Jobs, events and artifacts on the wire."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from app.api.http.documented import DocumentedAs
from app.domain.job_result import JobResult
from app.domain.jobs import (
    Artifact,
    Event,
    EventLevel,
    EventType,
    FailureKind,
    Job,
    JobFilter,
    JobStatus,
    Phase,
)
from app.domain.submission import JobSpec
from app.recipes.allocation_scores import AllocationScores

# As it was reported: the figures of an earlier version too.
StoredResult = Annotated[dict[str, Any], DocumentedAs(JobResult)]


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
    eta: datetime | None = Field(description="when it should end, judged by its pace so far")
    attempt: int
    max_attempts: int
    priority: int
    labels: dict[str, str]
    metadata: dict[str, Any]
    max_runtime_seconds: int | None
    max_pending_seconds: int | None
    worker_class: str = Field(description="the workers that may take it")
    memory_bytes: int | None = Field(description="what it should take; null where unknown")
    source_id: str | None = Field(description="the job that this one retries or was cloned from")
    sweep_id: str | None = Field(description="the sweep that this job is a member of")
    error: JobErrorOut | None
    result: StoredResult | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    files_expired_at: datetime | None = Field(description="when its files were removed for age")
    _as_stored: dict[str, Any] | None = None

    @classmethod
    def of(cls, job: Job) -> "JobOut":
        """The wire form of a stored job: its specification and its state side by side."""
        state = {name: getattr(job, name) for name in _SAME} | {
            "max_runtime_seconds": job.max_runtime,
            "max_pending_seconds": job.max_pending,
            "error": JobErrorOut(**asdict(job.error)) if job.error else None,
            "result": job.stored_result,
        }
        try:
            return cls.model_validate(job.stored_spec | state)
        except ValidationError:  # of another version
            shown: dict[str, Any] = state | {"_as_stored": job.stored_spec}
            return cls.model_construct(**shown)

    @model_serializer(mode="wrap")
    def _serialized(self, serialize: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # noqa: ANN202  what it returned would be the schema of the answer
        """The fields; a specification that this version cannot read as it is stored."""
        if self._as_stored is None:
            return serialize(self)
        spec = {name: part for name, part in self._as_stored.items() if name != "scores"}
        return spec | serialize(self)


_SAME = {field.name for field in fields(Job)} & set(JobOut.model_fields) - {
    *JobSpec.model_fields,
    "error",
}


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


class ResultOut(BaseModel):
    """How an ended job ended."""

    id: str
    status: JobStatus
    result: StoredResult | None
    error: JobErrorOut | None
    artifacts: list[ArtifactOut]

    @classmethod
    def of(cls, job: Job, files: Sequence[Artifact]) -> Self:
        """The wire form of an ended job's outcome."""
        return cls(
            id=job.id,
            status=job.status,
            result=job.stored_result,
            error=JobErrorOut(**asdict(job.error)) if job.error else None,
            artifacts=[ArtifactOut.of(file) for file in files],
        )


class JobQuery(BaseModel):
    """What of the list to see."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64)
    status: JobStatus | None = None
    method: str | None = Field(default=None, max_length=64)
    model: str | None = Field(default=None, max_length=512)
    label: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][^=]{0,62}=.{0,63}$")]] = Field(
        default=[], max_length=32, description="key=value; a job must have all that are given"
    )
    sweep: str | None = Field(default=None, max_length=64, description="id of a sweep")
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    sort: Literal["-created_at", "created_at"] = "-created_at"

    def filter(self) -> JobFilter:
        """The same without paging."""
        return JobFilter(
            status=self.status,
            method=self.method,
            model=self.model,
            labels=dict(label.split("=", 1) for label in self.label),
            sweep=self.sweep,
            created_after=self.created_after,
            created_before=self.created_before,
            oldest_first=self.sort == "created_at",
        )


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


class ArtifactList(BaseModel):
    """All published files of a job."""

    artifacts: list[ArtifactOut]
