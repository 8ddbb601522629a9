"""Projects, keys and the audit log on the wire."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, Field

from app.domain.projects import AuditEntry, Key, Limits, Project, Scope
from app.strict import Strict

# What the database can hold and give back in any time zone.
Moment = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]


class KeyRequest(Strict):
    """Body of `POST /v1/keys`."""

    name: str = Field(min_length=1, max_length=200, examples=["ci"])
    scope: Scope = Field(default=Scope.SUBMIT, description="each includes the ones before it")
    expires_at: Moment | None = None


class Rotation(Strict):
    """Body of `POST /v1/keys/{id}/rotate`."""

    grace_seconds: int = Field(
        default=0, ge=0, le=7 * 86_400, description="how long the old secret is still accepted"
    )


class KeyOut(BaseModel):
    """One API key, without its secret."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> Self:
        """The wire form of a key."""
        return cls.model_validate(asdict(key))


class NewKeyOut(BaseModel):
    """A key that was just made."""

    key: KeyOut
    secret: str = Field(description="shown here and never again")

    @classmethod
    def of(cls, made: tuple[Key, str]) -> Self:
        """The wire form of a key and its secret."""
        return cls(key=KeyOut.of(made[0]), secret=made[1])


class KeyList(BaseModel):
    """The project's keys, newest first."""

    keys: list[KeyOut]


class Usage(BaseModel):
    """What a project uses of its limits."""

    queued_jobs: int
    running_jobs: int
    artifact_bytes: int


class ProjectOut(BaseModel):
    """The project that the key belongs to."""

    id: str
    name: str
    created_at: datetime
    limits: Limits
    usage: Usage

    @classmethod
    def of(cls, project: Project, *, queued: int, running: int) -> Self:
        """The wire form of a project."""
        return cls(
            id=project.id,
            name=project.name,
            created_at=project.created_at,
            limits=project.limits,
            usage=Usage(
                queued_jobs=queued, running_jobs=running, artifact_bytes=project.artifact_bytes
            ),
        )


class ProjectRequest(Strict):
    """Body of `POST /v1/projects`."""

    name: str = Field(min_length=1, max_length=200, examples=["vision-team"])
    limits: Limits = Field(default_factory=Limits)


class ProjectEntry(BaseModel):
    """One project among all."""

    id: str
    name: str
    created_at: datetime
    limits: Limits
    artifact_bytes: int = Field(description="size of its published files")

    @classmethod
    def of(cls, project: Project) -> Self:
        """The wire form of a project."""
        return cls(**{name: getattr(project, name) for name in cls.model_fields})


class ProjectList(BaseModel):
    """All projects, newest first."""

    projects: list[ProjectEntry]


class NewProjectOut(BaseModel):
    """A project that was just made, with a key that may do everything in it."""

    project: ProjectEntry
    key: KeyOut
    secret: str = Field(description="shown here and never again")

    @classmethod
    def of(cls, project: Project, made: tuple[Key, str]) -> Self:
        """The wire form of a project, its first key and the key's secret."""
        key, secret = made
        return cls(project=ProjectEntry.of(project), key=KeyOut.of(key), secret=secret)


class AuditOut(BaseModel):
    """One change."""

    id: int
    at: datetime
    key_id: str = Field(description="of the key; of a token: `oidc:` and its subject")
    action: str = Field(examples=["job.submit"])
    target: str = Field(description="id of what was changed")

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """The wire form of an entry."""
        return cls.model_validate(asdict(entry))


class AuditPage(BaseModel):
    """Changes, newest first."""

    entries: list[AuditOut]
    next_cursor: int | None
