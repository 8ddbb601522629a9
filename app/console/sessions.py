"""Who has signed in: a cookie that names a key or a grant, and an end, signed; nothing is stored.

The key's secret is seen once, at the sign-in. Each request looks the key up by its id, so that a
revoked or expired key ends its sessions at once. What an issuer has granted holds until the end.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.domain.projects import Scope
from app.domain.tokens import Grant

COOKIE = "secateur_session"
_KEY_BYTES = 32
_LOOKS, _PAUSE = 20, 0.05  # seconds
_TOKEN = re.compile(
    r"(?P<holder>[\w-]{1,3800})\.(?P<ends>[0-9]{1,12})\.(?P<mac>[0-9a-f]{64})", re.ASCII
)
_GRANT = "grant_"


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in.

    Attributes:
        holder: id of the API key, or what the issuer of tokens has granted.
        ends: when, in seconds since the epoch.
        token: the same, signed: what the cookie holds.
    """

    holder: str | Grant
    ends: int
    token: str


class Sessions:
    """Begins sessions and recognises them."""

    def __init__(self, key: bytes, seconds: float) -> None:
        """Sign with `key`; a session lasts for `seconds`."""
        self._key = key
        self.seconds = int(seconds)

    def begin(self, holder: str | Grant, seconds: int | None = None) -> Session:
        """A session of whoever has the key of this id, or was granted this; maybe a shorter one."""
        ends = int(time.time()) + min(self.seconds, seconds or self.seconds)
        name = holder if isinstance(holder, str) else _written(holder)
        return Session(holder, ends, f"{name}.{ends}.{self._mac('session', name, ends)}")

    def read(self, token: str) -> Session | None:
        """The session of a token; None where it has ended, or was not begun here."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        name, ends = match["holder"], int(match["ends"])
        genuine = hmac.compare_digest(match["mac"], self._mac("session", name, ends))
        if not genuine or time.time() >= ends:
            return None
        return Session(_read(name) if name.startswith(_GRANT) else name, ends, token)

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


def _written(grant: Grant) -> str:
    text = json.dumps([grant.subject, grant.project, grant.scope], ensure_ascii=False)
    return _GRANT + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(name: str) -> Grant:
    """The grant of a name that was signed here."""
    text = name.removeprefix(_GRANT)
    subject, project, scope = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return Grant(subject, project, Scope(scope))


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
