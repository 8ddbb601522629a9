"""API keys: random secrets shown once, stored as SHA-256 digests.

A fast digest is right here: the secret has 256 bits of entropy, so there is nothing to guess.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.db import projects
from app.domain.projects import DEFAULT_PROJECT, Caller, Key, Scope
from app.errors import ApiKeyNotFoundError, KeyInvalidError

PREFIX = "sct_"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def issue(
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


def create(connection: Connection, name: str) -> str:
    """Make a key of the default project that may do everything there; returns its secret."""
    return issue(connection, name)[1]


def create_first_key(connection: Connection) -> str | None:
    """Make a key where there is none yet; None where one exists."""
    return create(connection, "first") if projects.count_keys(connection) == 0 else None


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


def listing(connection: Connection, caller: Caller) -> list[Key]:
    """The keys of the caller's project, newest first."""
    return projects.keys_of(connection, caller.project_id)


def create_for(
    connection: Connection, caller: Caller, *, name: str, scope: Scope, expires_at: datetime | None
) -> tuple[Key, str]:
    """Make another key of the caller's project."""
    made = issue(connection, name, project_id=caller.project_id, scope=scope, expires_at=expires_at)
    projects.record_change(connection, caller, "key.create", made[0].id)
    return made


def rotate(
    connection: Connection, caller: Caller, key_id: str, *, grace: timedelta
) -> tuple[Key, str]:
    """Replace a key by one of the same name, scope and expiry; the old one lives on for `grace`.

    Raises:
        ApiKeyNotFoundError: the project has no live key of that id.
    """
    old = projects.live_key(connection, caller.project_id, key_id)
    if old is None:
        raise _unknown(key_id)
    made = issue(
        connection,
        old.name,
        project_id=old.project_id,
        scope=old.scope,
        expires_at=old.expires_at,
    )
    projects.end_key(connection, caller.project_id, key_id, grace=grace)
    projects.record_change(connection, caller, "key.rotate", key_id)
    return made


def revoke(connection: Connection, caller: Caller, key_id: str) -> Key:
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
