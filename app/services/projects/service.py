"""Projects: what they use of their limits, their API keys, their idempotent requests.

API keys are random secrets shown once and stored as SHA-256 digests. A fast digest is right: a
secret has 256 bits of entropy, so there is nothing to guess.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from app.db import projects
from app.domain.entity_tags import require
from app.domain.projects import (
    DEFAULT_PROJECT,
    ApiKeyNotFoundError,
    ArtifactQuotaError,
    AuditEntry,
    Caller,
    Key,
    KeyInvalidError,
    Limits,
    LimitsChange,
    Project,
    ProjectExistsError,
    ProjectNotFoundError,
    QueueQuotaError,
    Scope,
)
from app.domain.tokens import Grant, TokenProjectUnknownError
from app.errors import IdempotencyInFlightError, IdempotencyMismatchError
from app.messages import printable

CACHE_SECONDS = 1.0
# A process takes this part of what it found free, so that as many may do so at the same time.
CACHE_PART = 8
# So near the limit, submits count one after the other; further away, none waits for another.
NEAR = 100


@dataclass(slots=True)
class _FreeJobs:
    """What was free at some moment, and how much of it is this process's still."""

    limits: Limits
    until: float
    left: int


class QuotaCache:
    """Spares counting: a long queue takes longer to count than a job to store.

    Known for a second and for a part of what was free, so the limit on queued jobs holds; that on
    published bytes is noticed a second late.
    """

    def __init__(self) -> None:
        self._found: dict[str, _FreeJobs] = {}
        self._lock = Lock()

    def take(self, caller: Caller, jobs: int) -> bool:
        """Whether there is room for certain; it is taken then."""
        with self._lock:
            found = self._found.get(caller.project_id)
            if found is None or found.limits != caller.limits or time.monotonic() > found.until:
                return False
            found.left -= jobs
            return found.left >= 0

    def learn(self, caller: Caller, free: int) -> None:
        """Note how many jobs the project may queue beside those just counted."""
        until = time.monotonic() + CACHE_SECONDS
        with self._lock:
            self._found[caller.project_id] = _FreeJobs(caller.limits, until, free // CACHE_PART)


def create(connection: Connection, name: str, limits: Limits | None = None) -> Project:
    """Make a project.

    Raises:
        ProjectExistsError: another has the name.
    """
    made = projects.create(connection, name, limits or Limits())
    if made is None:
        raise ProjectExistsError(f"there is a project {name!r} already")
    return made


def create_with_key(
    connection: Connection, caller: Caller, name: str, limits: Limits
) -> tuple[Project, tuple[Key, str]]:
    """Make a project and its first key, an admin's; the key's secret comes last.

    Raises:
        ProjectExistsError: another has the name.
    """
    made = create(connection, name, limits)
    projects.record_change(connection, caller, "project.create", made.id)
    return made, issue_key(connection, "first", project_id=made.id)


def listing(connection: Connection) -> list[Project]:
    """All projects, newest first."""
    return projects.listing(connection)


def find(connection: Connection, project_id: str) -> Project:
    """A project, whosever it is.

    Raises:
        ProjectNotFoundError: there is none of that id.
    """
    found = projects.find(connection, project_id)
    if found is None:
        raise ProjectNotFoundError(f"there is no project {project_id!r}")
    return found


def change_limits(
    connection: Connection,
    caller: Caller,
    project_id: str,
    wanted: LimitsChange,
    if_match: str | None,
) -> Project:
    """Set limits; they count from the next request on, and stop nothing that was accepted.

    Raises:
        ProjectNotFoundError: there is none of that id.
        PreconditionError: the limits have changed since the client looked.
    """
    projects.lock(connection, project_id)
    found = find(connection, project_id)
    require(if_match, found.etag, f"project {project_id!r}")
    limits = found.limits.model_copy(update=wanted.model_dump(exclude_none=True))
    if limits != found.limits:
        projects.set_limits(connection, project_id, limits)
        projects.record_change(connection, caller, "project.change", project_id)
    return replace(found, limits=limits)


def get(connection: Connection, caller: Caller) -> Project:
    """The caller's project."""
    return projects.get(connection, caller.project_id)


def usage(connection: Connection, caller: Caller) -> tuple[int, int]:
    """How many jobs are queued and how many run."""
    limit = caller.limits.queued_jobs + NEAR
    return (
        projects.queued(connection, caller.project_id, up_to=limit),
        projects.running(connection, caller.project_id),
    )


def check_quotas(connection: Connection, caller: Caller, cache: QuotaCache, *, jobs: int) -> None:
    """Refuse new jobs beyond the project's limits.

    Args:
        connection: an open transaction.
        caller: who submits.
        cache: what this process knows already.
        jobs: how many are submitted.

    Raises:
        QueueQuotaError: as many jobs as may are queued.
        ArtifactQuotaError: the published files take up all the room.
    """
    if cache.take(caller, jobs):
        return
    limit = caller.limits.queued_jobs
    found, artifact_bytes = projects.used(connection, caller.project_id, up_to=limit + 1)
    if found + jobs + NEAR > limit:
        projects.lock(connection, caller.project_id)
        found = projects.queued(connection, caller.project_id, up_to=limit + 1)
        if found + jobs > limit:
            raise QueueQuotaError(f"the project may have {limit} queued jobs and has {found}")
    if artifact_bytes > caller.limits.artifact_bytes:
        raise ArtifactQuotaError(
            f"the project's artifacts take {artifact_bytes} of "
            f"{caller.limits.artifact_bytes} bytes; delete jobs that are not needed any more"
        )
    cache.learn(caller, limit - NEAR - found - jobs)


def audit_page(
    connection: Connection, caller: Caller, *, limit: int, cursor: int | None
) -> tuple[list[AuditEntry], int | None]:
    """Up to `limit` changes, newest first, and the cursor of the next page (None at the end)."""
    found = projects.audit_page(connection, caller.project_id, limit=limit + 1, before=cursor)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None


PREFIX = "sct_"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def issue_key(
    connection: Connection,
    name: str,
    *,
    project_id: str = DEFAULT_PROJECT,
    scope: Scope = Scope.ADMIN,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """Make a key; its secret, which comes second, cannot be read again."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = projects.add_key(
        connection,
        project_id=project_id,
        name=name,
        scope=scope,
        sha256=_digest(secret),
        expires_at=expires_at,
    )
    return key, secret


def adopt_key(
    connection: Connection, name: str, secret: str, *, project_id: str, scope: Scope
) -> str | None:
    """Make a key of a secret that others have made; its id, or None where it is one already.

    Raises:
        ValueError: a secret of that form could be guessed.
    """
    if not re.fullmatch(rf"{PREFIX}[A-Za-z0-9_-]{{32,}}", secret):
        raise ValueError(f"a key is {PREFIX} and at least 32 letters, digits, - or _")
    values = {"project_id": project_id, "name": name, "scope": scope, "expires_at": None}
    return projects.add_key_once(connection, sha256=_digest(secret), **values)


def create_key(connection: Connection, name: str) -> str:
    """Make a key of the default project that may do everything there; returns its secret."""
    return issue_key(connection, name)[1]


def create_first_key(connection: Connection) -> str | None:
    """Make a key where there is none yet; None where one exists."""
    return create_key(connection, "first") if projects.count_keys(connection) == 0 else None


def authenticate(connection: Connection, secret: str) -> Caller:
    """Who sends this secret.

    Raises:
        KeyInvalidError: no key has it, or the key was revoked or has expired.
    """
    caller = projects.find_caller(connection, _digest(secret))
    if caller is None:
        raise KeyInvalidError(
            "the API key is not known here, or not any more; create one with `secateur keys create`"
        )
    return caller


def authenticate_token(connection: Connection, grant: Grant) -> Caller:
    """Who sends a token that grants this.

    Raises:
        TokenProjectUnknownError: the project does not exist, or not any more.
    """
    project = projects.named(connection, grant.project)
    if project is None:
        shown = printable(grant.project, 200)
        raise TokenProjectUnknownError(f"the token names the project {shown!r}; there is none")
    return Caller(grant.subject, project.id, grant.scope, project.limits)


def resume(connection: Connection, holder: str | Grant) -> Caller:
    """Who has signed in with the key of this id, or was granted this.

    Raises:
        KeyInvalidError: the key was revoked or has expired since.
        TokenProjectUnknownError: as for `authenticate_token`.
    """
    if isinstance(holder, Grant):
        return authenticate_token(connection, holder)
    caller = projects.find_session_caller(connection, holder)
    if caller is None:
        raise KeyInvalidError("the API key of this session was revoked or has expired")
    return caller


def list_keys(connection: Connection, caller: Caller) -> list[Key]:
    """The keys of the caller's project, newest first."""
    return projects.keys_of(connection, caller.project_id)


def create_key_for(
    connection: Connection, caller: Caller, *, name: str, scope: Scope, expires_at: datetime | None
) -> tuple[Key, str]:
    """Make another key of the caller's project."""
    made = issue_key(
        connection, name, project_id=caller.project_id, scope=scope, expires_at=expires_at
    )
    projects.record_change(connection, caller, "key.create", made[0].id)
    return made


def rotate_key(
    connection: Connection, caller: Caller, key_id: str, *, grace: timedelta
) -> tuple[Key, str]:
    """Replace a key by one of the same name, scope and expiry; the old one lives on for `grace`.

    Raises:
        ApiKeyNotFoundError: the project has no live key of that id.
    """
    old = projects.live_key(connection, caller.project_id, key_id)
    if old is None:
        raise _unknown(key_id)
    made = issue_key(
        connection,
        old.name,
        project_id=old.project_id,
        scope=old.scope,
        expires_at=old.expires_at,
    )
    projects.end_key(connection, caller.project_id, key_id, grace=grace)
    projects.record_change(connection, caller, "key.rotate", key_id)
    return made


def revoke_key(connection: Connection, caller: Caller, key_id: str) -> Key:
    """End a key at once.

    Raises:
        ApiKeyNotFoundError: the project has no live key of that id.
    """
    key = projects.end_key(connection, caller.project_id, key_id, grace=timedelta(0))
    if key is None:
        raise _unknown(key_id)
    projects.record_change(connection, caller, "key.revoke", key_id)
    return key


def _unknown(key_id: str) -> ApiKeyNotFoundError:
    return ApiKeyNotFoundError(f"there is no live API key {key_id!r}")


class Identified(Protocol):
    """Something that was made, and can be found again by its id."""

    @property
    def id(self) -> str:
        """Its id."""


Made = TypeVar("Made", bound=Identified)


def once(
    connection: Connection,
    caller: Caller,
    key: str | None,
    payload: object,
    *,
    make: Callable[[], Made],
    again: Callable[[str], Made],
) -> tuple[Made, bool]:
    """Make something, or find what the same request made before, as it is now.

    Only what was committed is remembered: after an error the request may be sent again.

    Args:
        connection: the transaction that `make` works in.
        caller: keys of different projects do not meet.
        key: the Idempotency-Key; None just makes it.
        payload: what must be the same for a replay; models, and anything JSON can hold.
        make: does the work.
        again: finds by its id what was made.

    Returns:
        What was made, and whether an earlier request did it.

    Raises:
        IdempotencyInFlightError: the first request is still at work.
        IdempotencyMismatchError: the key was used with another payload.
    """
    if key is None:
        return make(), False
    if not projects.try_lock_request(connection, caller.project_id, key):
        raise IdempotencyInFlightError("the first request with this Idempotency-Key is at work")
    text = json.dumps(payload, sort_keys=True, default=_plain)
    fingerprint = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    found = projects.find_request(connection, caller.project_id, key)
    if found is None:
        made = make()
        answer = {"id": made.id}
        projects.store_request(
            connection, caller.project_id, key, fingerprint=fingerprint, answer=answer
        )
        return made, False
    if found[0] != fingerprint:
        raise IdempotencyMismatchError("this Idempotency-Key was used with another payload")
    return again(found[1]["id"]), True


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json")
