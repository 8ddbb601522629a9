"""One attempt at a delivery over HTTP, from the name to the answer within one deadline."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import httpx2

from app.domain.webhooks import Dispatch, Receipt, WebhookAddressError
from app.messages import printable
from app.urls import HttpUrl, parse_url
from app.webhooks.guard import ANYWHERE, Address, Network, lookup

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh signing secret of 256 bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed_headers(
    message_id: str, timestamp: int, body: bytes, live: Sequence[str]
) -> dict[str, str]:
    """Id, time and one signature per live secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_sign(secret, content)}" for secret in live),
    }


def _sign(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


ADDRESSES = 3  # of one name, tried in turn
MAX_ERROR = 500  # characters

Lookup = asyncio.Future[list[Address]]


class Sender:
    """Posts signed messages to addresses that the guard has seen.

    It follows no redirect, keeps no connection, since the next message to the same address may be
    for another host, and reads no body.
    """

    def __init__(self, networks: Sequence[Network], deadline: float) -> None:
        """Connect to nobody yet.

        Args:
            networks: where messages may go beside public addresses.
            deadline: seconds for a whole attempt.
        """
        self._networks, self._deadline = networks, deadline
        self._http = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            timeout=deadline,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    def look_up(self, url: str, *, trusted: bool = False) -> Lookup:
        """Begin to resolve the URL's host; done once no thread works on it any more.

        Args:
            url: of the receiver.
            trusted: the operator names it, so it may be anywhere.
        """
        try:
            target = parse_url(url)
        except ValueError as error:
            refused: Lookup = asyncio.get_running_loop().create_future()
            refused.set_exception(WebhookAddressError(str(error)))
            refused.exception()
            return refused
        return lookup(target.host, target.port, ANYWHERE if trusted else self._networks)

    async def send(self, dispatch: Dispatch, addresses: Lookup) -> Receipt:
        """Try once; what the receiver or the network does becomes the receipt."""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._post(dispatch, await asyncio.shield(addresses))
        except TimeoutError:
            reason = f"no whole answer within {self._deadline:g} s"
        except (WebhookAddressError, LookupError) as error:
            reason = str(error)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
        return Receipt(None, printable(reason, MAX_ERROR))

    async def _post(self, dispatch: Dispatch, addresses: Sequence[Address]) -> Receipt:
        body = json.dumps(dispatch.payload, separators=(",", ":")).encode()
        target, url = parse_url(dispatch.url), httpx2.URL(dispatch.url)
        headers = signed_headers(dispatch.id, int(time.time()), body, dispatch.secrets)
        headers |= {"Host": _authority(target), "Content-Type": "application/json"}
        headers |= dispatch.headers
        *others, last = addresses[:ADDRESSES]
        for address in others:
            with suppress(httpx2.ConnectError):
                return await self._once(url, target, address, body, headers)
        return await self._once(url, target, last, body, headers)

    async def _once(
        self,
        url: httpx2.URL,
        target: HttpUrl,
        address: Address,
        body: bytes,
        headers: dict[str, str],
    ) -> Receipt:
        async with self._http.stream(
            "POST",
            url.copy_with(host=str(address)),
            content=body,
            headers=headers,
            extensions={"sni_hostname": target.host},
        ) as answer:
            return Receipt(answer.status_code)  # the body is the receiver's own business


def _authority(target: HttpUrl) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = 443 if target.scheme == "https" else 80
    return host if target.port == usual else f"{host}:{target.port}"
