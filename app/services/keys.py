"""API keys: random secrets shown once, stored as SHA-256 digests.

A fast digest is right here: the secret has 256 bits of entropy, so there is nothing to guess.
"""

import hashlib
import secrets

from sqlalchemy import Connection

from app.db import keys
from app.domain.errors import KeyInvalidError

PREFIX = "sct_"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def create(connection: Connection, name: str) -> str:
    """Make a key and return its secret, which cannot be read again."""
    secret = PREFIX + secrets.token_urlsafe(32)
    keys.add(connection, name, _digest(secret))
    return secret


def create_first_key(connection: Connection) -> str | None:
    """Make a key where there is none yet; None where one exists."""
    return create(connection, "first") if keys.count(connection) == 0 else None


def authenticate(connection: Connection, secret: str) -> str:
    """The id of the key.

    Raises:
        KeyInvalidError: no key has this secret.
    """
    key_id = keys.find(connection, _digest(secret))
    if key_id is None:
        raise KeyInvalidError(
            "the API key is not known here; create one with `secateur keys create`"
        )
    return key_id
