"""Who has signed in: a cookie that names a key and an end, signed; nothing of it is stored.

The key's secret is seen once, at the sign-in. Each request looks the key up by its id, so that a
revoked or expired key ends its sessions at once.
"""

import hashlib
import hmac
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COOKIE = "secateur_session"
_KEY_BYTES = 32
_LOOKS, _PAUSE = 20, 0.05  # seconds
_TOKEN = re.compile(r"(?P<key_id>key_[0-9a-f]{1,64})\.(?P<ends>\d{1,12})\.(?P<mac>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in.

    Attributes:
        key_id: of the API key.
        ends: when, in seconds since the epoch.
        token: the same, signed: what the cookie holds.
    """

    key_id: str
    ends: int
    token: str


class Sessions:
    """Begins sessions and recognises them."""

    def __init__(self, key: bytes, seconds: float) -> None:
        """Sign with `key`; a session lasts for `seconds`."""
        self._key = key
        self.seconds = int(seconds)

    def begin(self, key_id: str) -> Session:
        """A session of whoever has this key."""
        ends = int(time.time()) + self.seconds
        return Session(key_id, ends, f"{key_id}.{ends}.{self._mac('session', key_id, ends)}")

    def read(self, token: str) -> Session | None:
        """The session of a token; None where it has ended, or was not begun here."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        key_id, ends = match["key_id"], int(match["ends"])
        genuine = hmac.compare_digest(match["mac"], self._mac("session", key_id, ends))
        return Session(key_id, ends, token) if genuine and time.time() < ends else None

    def csrf_token(self, session: Session) -> str:
        """What forms of this session carry; another site cannot know it."""
        return self._mac("csrf", session.token)

    def is_csrf_token(self, session: Session, text: str) -> bool:
        """Is it that of this session?"""
        expected = self.csrf_token(session).encode()
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), expected)

    def _mac(self, purpose: str, *parts: object) -> str:
        text = "\0".join(map(str, (purpose, *parts)))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def signing_key(path: Path) -> bytes:
    """The key in a file; where there is none, one is made, by one process of those that try.

    Raises:
        OSError: the file can neither be read nor made.
        ValueError: it holds something else.
    """
    if not path.exists():  # else it may be where nobody may write
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was first
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_KEY_BYTES))
    for _ in range(_LOOKS):
        text = path.read_text(encoding="utf-8").strip()
        if re.fullmatch(r"[0-9a-f]{64,128}", text) and len(text) % 2 == 0:
            return bytes.fromhex(text)
        time.sleep(_PAUSE)  # it may be on its way into the file
    raise ValueError(
        f"{path} does not hold a signing key (64 hexadecimal digits); remove it to have one made"
    )
