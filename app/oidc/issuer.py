"""The issuer of tokens: what it publishes, fetched when it is needed and kept for a while."""

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_plus

import httpx2
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import JWKRegistry, Key, KeySet

from app.bounded_json import JsonLimits, parse_object
from app.domain.tokens import IssuerUnavailableError, TokenInvalidError
from app.messages import printable
from app.urls import is_private, parse_url

logger = logging.getLogger("secateur.oidc")

DISCOVERY = "/.well-known/openid-configuration"
# Seconds: what is younger is used without asking; what is older than LAST_RESORT is not used.
FRESH, LAST_RESORT = 600.0, 86_400.0
PAUSE = 5.0  # seconds from the end of a fetch to the next: tokens with invented keys cause no more
LIMITS = JsonLimits(bytes=256 << 10, values=20_000)
MOST_KEYS = 100
KINDS = {"RSA", "EC", "OKP"}
# Characters of an RSA modulus in base64url: 2048 to 8192 bits.
_SHORTEST_RSA, _LONGEST_RSA = 342, 1366
# What an issuer may do wrong; those of `parse_object` are among them.
_FAULTS = (TimeoutError, ValueError, OSError, httpx2.HTTPError, httpx2.InvalidURL)


@dataclass(frozen=True, slots=True)
class Published:
    """What the issuer said of itself at some moment of the monotonic clock."""

    metadata: Mapping[str, Any]
    keys: KeySet
    at: float

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that signs so; a token without `kid` is fine where there is one key."""
        try:
            return self.keys.get_by_kid(kid, {"alg": algorithm, "use": "sig"})
        except InvalidKeyIdError:
            return None


class Issuer:
    """Asks an issuer for its metadata and keys; all requests that wait share one fetch.

    Keys are looked for anew when a token names one that is not known, and from time to time, so
    that one that was withdrawn is forgotten. While the issuer is away, known keys go on.
    """

    def __init__(self, url: str, deadline: float) -> None:
        """Ask nobody yet.

        Args:
            url: as tokens have it in `iss`.
            deadline: seconds for all documents together.
        """
        self.url = url
        self._deadline = deadline
        self._http = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            timeout=deadline,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=False,
        )
        self._known: Published | None = None
        self._fetch: asyncio.Task[Published | None] | None = None
        self._fetched_at = 0.0

    async def __aenter__(self) -> Self:
        """Begin, with a first fetch: the first token need not wait, and the log tells a failure."""
        self._latest()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        """End a fetch that is under way and close the connections."""
        if self._fetch is not None:
            self._fetch.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetch
        await self._http.aclose()

    async def key(self, kid: str | None, algorithm: str) -> Key:
        """The key that signs tokens of this `kid` and `alg`.

        Raises:
            TokenInvalidError: the issuer has no such key.
            IssuerUnavailableError: nobody can tell.
        """
        found = (await self.published()).find(kid, algorithm)
        found = found or (await self._refreshed()).find(kid, algorithm)
        if found is None:
            raise TokenInvalidError("the token is signed with a key that the issuer does not have")
        return found

    async def published(self) -> Published:
        """What is known, unless it is too old.

        Raises:
            IssuerUnavailableError: nothing is known, and the issuer does not tell.
        """
        age = time.monotonic() - self._known.at if self._known else LAST_RESORT
        if self._known is None or age >= LAST_RESORT:
            return await self._refreshed()
        if age >= FRESH:
            self._latest()  # nobody waits for it
        return self._known

    async def _refreshed(self) -> Published:
        found = await asyncio.shield(self._latest())
        if found is None:
            raise _unavailable()
        return found

    def _latest(self) -> "asyncio.Task[Published | None]":
        """The fetch that is under way or has just ended, else a new one."""
        last = self._fetch
        if last is None or (last.done() and time.monotonic() - self._fetched_at >= PAUSE):
            last = self._fetch = asyncio.create_task(self._fetched())
        return last

    async def endpoint(self, name: str) -> str:
        """An address that the issuer tells.

        Raises:
            IssuerUnavailableError: it tells none that is of use.
        """
        metadata = (await self.published()).metadata
        try:
            return endpoint(metadata, name, self.url)
        except ValueError as error:
            logger.warning("the issuer of tokens %s is of no use: %s", self.url, error)
            raise _unavailable() from error

    async def exchange(
        self, form: Mapping[str, str], client: tuple[str, str] | None
    ) -> dict[str, Any]:
        """What the token endpoint answers; an object without tokens where it refuses.

        Args:
            form: what is exchanged.
            client: its name and secret, where it has one.

        Raises:
            IssuerUnavailableError: it does not answer, or in a way that nobody understands.
        """
        address = await self.endpoint("token_endpoint")
        # Both are in the form of URLs before they are in base64 (RFC 6749, 2.3.1).
        auth = tuple(map(quote_plus, client)) if client else None
        try:
            async with asyncio.timeout(self._deadline):
                _, content = await self._asked("POST", address, data=form, auth=auth)
                return parse_object(content, LIMITS)
        except _FAULTS as error:
            self._warn(error)
            raise _unavailable() from error

    async def _fetched(self) -> Published | None:
        """What the issuer publishes now; None, and a line in the log, where that fails."""
        try:
            async with asyncio.timeout(self._deadline):
                metadata = await self._document(self.url.rstrip("/") + DISCOVERY)
                if metadata.get("issuer") != self.url:
                    raise ValueError(f"it calls itself {metadata.get('issuer')!r}")
                keys = _key_set(await self._document(endpoint(metadata, "jwks_uri", self.url)))
        except _FAULTS as error:
            self._warn(error)
            return None
        else:
            self._known = Published(metadata, keys, time.monotonic())
            return self._known
        finally:
            self._fetched_at = time.monotonic()

    def _warn(self, error: Exception) -> None:
        told = printable(f"{type(error).__name__}: {error}", 500)
        logger.warning("the issuer of tokens %s is of no use: %s", self.url, told)

    async def _document(self, url: str) -> dict[str, Any]:
        status, content = await self._asked("GET", url)
        if status != httpx2.codes.OK:
            raise ValueError(f"{url} answers {status}")
        return parse_object(content, LIMITS)

    async def _asked(self, verb: str, url: str, **options: Any) -> tuple[int, bytes]:
        """Status and body of an answer, cut where nothing of ours is so long."""
        async with self._http.stream(verb, url, **options) as answer:
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > LIMITS.bytes:
                    break
        return answer.status_code, bytes(content)


def _unavailable() -> IssuerUnavailableError:
    return IssuerUnavailableError(
        "the issuer of tokens does not answer, so nothing can be verified; try again"
    )


def endpoint(metadata: Mapping[str, Any], name: str, issuer: str) -> str:
    """An address that the issuer tells; by TLS, or on this machine as the issuer is.

    Raises:
        ValueError: it tells none, or one to which nothing of ours goes.
    """
    address = metadata.get(name)
    if not isinstance(address, str):
        raise ValueError(f"it tells no {name}")  # noqa: TRY004  what it says is data
    plain, here = (parse_url(each).scheme == "http" for each in (address, issuer))
    if not is_private(address) or (plain and not here):
        raise ValueError(f"its {name} is not by https")
    return address


def _key_set(document: Mapping[str, Any]) -> KeySet:
    """The keys that may sign tokens; those that are not understood are left out (RFC 7517, 5)."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"its key set is no list of at most {MOST_KEYS} keys")
    keys = []
    for each in listed:
        try:
            if _may_sign(each):
                keys.append(JWKRegistry.import_key(each))
        except Exception as error:  # noqa: BLE001  one key, of any kind, must not spoil the others
            logger.warning("a key of the issuer is not understood: %s", type(error).__name__)
    if not keys:
        raise ValueError("its key set has no key that could sign a token")
    return KeySet(keys)


def _may_sign(key: Any) -> bool:
    if not isinstance(key, dict) or key.get("kty") not in KINDS or key.get("use") == "enc":
        return False
    return key["kty"] != "RSA" or _SHORTEST_RSA <= len(key.get("n", "")) <= _LONGEST_RSA
