"""Requests: problems as exceptions, passing faults tried again."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2

from secateur_client.configuration import api_key, service_url
from secateur_client.errors import RefusedError, UnreachableError

_PASSING = {429, 502, 503, 504}
_CONFLICT = 409
_FIRST, _LONGEST = 0.5, 60.0  # seconds between two tries


class Http:
    """One service, one key.

    Raises:
        RefusedError: from every method; the service said no.
        UnreachableError: from every method; it said nothing.
    """

    def __init__(self, url: str | None, key: str | None, *, timeout: float, retries: int) -> None:
        found = service_url(url)
        secret = api_key(found, key)
        # Files may lie on an object store; the key does not travel there.
        self._client = httpx2.Client(
            base_url=found,
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            timeout=timeout,
            follow_redirects=True,
        )
        self._retries = retries

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(
        self, method: str, path: str, *, content: Callable[[], Any] | None = None, **arguments: Any
    ) -> Any:
        """The JSON of an answer; None where it has no body. Every request may be sent again.

        Args:
            method: of HTTP.
            path: from `address`.
            content: makes the body anew for each try.
            arguments: httpx2's.
        """
        tries = 0
        while True:
            if content is not None:
                arguments["content"] = content()
            try:
                response = self._client.request(method, path, **arguments)
            except httpx2.TransportError as error:
                if tries >= self._retries:
                    raise self._unreachable(error) from error
                wait = backoff(tries)
            else:
                if not response.is_error:
                    return _body(response)
                if tries >= self._retries or not _passes(response):
                    raise RefusedError(response)
                wait = _told_to_wait(response) or backoff(tries)
            tries += 1
            time.sleep(wait)

    def create(self, path: str, json: Any, idempotency_key: str | None) -> Any:
        """Make something once, however often the request is sent."""
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self.ask("POST", path, json=json, headers=headers)

    @contextmanager
    def stream(self, path: str, **arguments: Any) -> Iterator[httpx2.Response]:
        """An answer whose body is read bit by bit."""
        try:
            with self._client.stream("GET", path, **arguments) as response:
                if response.is_error:
                    response.read()
                    raise RefusedError(response)
                yield response
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx2.TransportError) -> UnreachableError:
        url = self._client.base_url.copy_with(userinfo=b"")  # no password in a message
        reason = str(error) or type(error).__name__
        return UnreachableError(
            f"no answer from {url}: {reason}; is the service running there? SECATEUR_URL names "
            "another address"
        )

    def pause(self, failed: int, error: UnreachableError) -> None:
        """Wait before a stream is opened again; raises the error once there were enough."""
        if failed > self._retries:
            raise error
        time.sleep(backoff(failed - 1))


def address(*parts: str | int) -> str:
    """The path of something of the API; parts may hold anything."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def backoff(tries: int) -> float:
    """Seconds until the next try: longer each time, and not the same for everybody."""
    return min(_FIRST * 2.0**tries, _LONGEST) * random.uniform(0.5, 1)  # noqa: S311  no secret


def _passes(response: httpx2.Response) -> bool:
    conflict = response.status_code == _CONFLICT and "Retry-After" in response.headers
    return conflict or response.status_code in _PASSING


def _told_to_wait(response: httpx2.Response) -> float:
    told: str = response.headers.get("Retry-After", "")
    return min(float(told), _LONGEST) if told.isdigit() else 0.0


def _body(response: httpx2.Response) -> Any:
    if not response.content:  # a 204 may name a media type all the same
        return None
    if "json" in response.headers.get("Content-Type", ""):
        return response.json()
    return response.text
