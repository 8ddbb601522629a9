"""Who may do what: projects, the scopes of their keys, and their limits."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus

from pydantic import Field

from app.errors import AccessError, ConflictError, LimitError, NotFoundError
from app.strict import Strict

DEFAULT_PROJECT = "prj_default"


class Scope(StrEnum):
    """What a key or a token may do; each scope includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


INCLUDED = {scope: frozenset(list(Scope)[: place + 1]) for place, scope in enumerate(Scope)}
"""The scopes that are granted along with each."""


class Limits(Strict):
    """What a project may use at a time."""

    queued_jobs: int = Field(default=10_000, ge=0, description="jobs that wait for a worker")
    running_jobs: int = Field(default=100, ge=1, description="jobs that workers run at once")
    artifact_bytes: int = Field(
        default=1 << 40, ge=0, description="published files; above it, no job is accepted"
    )
    upload_bytes: int = Field(
        default=256 << 20, ge=0, description="largest upload, within what the service accepts"
    )
    requests_per_minute: int = Field(default=6000, ge=1, description="requests of all its keys")


class LimitsChange(Strict):
    """Body of `PATCH /v1/projects/{id}`; a limit that is left out stays as it is."""

    queued_jobs: int | None = Field(default=None, ge=0)
    running_jobs: int | None = Field(default=None, ge=1)
    artifact_bytes: int | None = Field(default=None, ge=0)
    upload_bytes: int | None = Field(default=None, ge=0)
    requests_per_minute: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class Project:
    """An owner of jobs, keys and webhooks; nothing of it is visible elsewhere."""

    id: str
    name: str
    limits: Limits
    artifact_bytes: int
    created_at: datetime

    @property
    def etag(self) -> str:
        """The entity tag of what can be changed."""
        return f'"{hashlib.sha256(self.limits.model_dump_json().encode()).hexdigest()[:16]}"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: a key of a project, or whoever a token names.

    Attributes:
        id: of the key; `oidc:` and the subject of a token.
    """

    id: str
    project_id: str
    scope: Scope
    limits: Limits


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as listed; its secret is not stored."""

    id: str
    project_id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: which key, or whose token, did what to which resource."""

    id: int
    at: datetime
    key_id: str
    action: str
    target: str


class KeyMissingError(AccessError):
    """The request carries no API key."""

    code = "api_key_missing"
    status = HTTPStatus.UNAUTHORIZED
    challenge = "Bearer"


class KeyInvalidError(AccessError):
    """The API key is unknown."""

    code = "api_key_invalid"
    status = HTTPStatus.UNAUTHORIZED
    challenge = "Bearer"


class PageError(AccessError):
    """What pages of the console meet, and requests of the API do not."""


class SessionMissingError(PageError):
    """Nobody has signed in to the console here, or the sign-in has ended."""

    code = "session_missing"
    status = HTTPStatus.UNAUTHORIZED


class ForgedRequestError(PageError):
    """The request does not come from a page of the console that this session was shown."""

    code = "csrf_token_invalid"


class ScopeError(AccessError):
    """The scope of the API key or token does not cover this."""

    code = "scope_missing"


class ApiKeyNotFoundError(NotFoundError):
    """The project has no API key of that id."""

    code = "api_key_not_found"


class ProjectNotFoundError(NotFoundError):
    """No project has that id."""

    code = "project_not_found"


class ProjectExistsError(ConflictError):
    """Another project has that name."""

    code = "project_exists"


class QueueQuotaError(LimitError):
    """The project has as many queued jobs as it may have."""

    code = "quota_queued_jobs"
    retry_after = 30


class ArtifactQuotaError(LimitError):
    """The project's artifacts take up all the room it may use."""

    code = "quota_artifact_bytes"
    status = HTTPStatus.FORBIDDEN


class RateLimitError(LimitError):
    """The project sent more requests than it may."""

    code = "rate_limited"
