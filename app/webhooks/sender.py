"""One attempt at a delivery over HTTP."""

import json
import time

import httpx2

from app.domain.errors import WebhookAddressError
from app.domain.webhooks import Dispatch, Receipt
from app.webhooks import signing
from app.webhooks.guard import resolve

TIMEOUT = httpx2.Timeout(15, connect=5)


class Sender:
    """Posts signed messages to addresses that the guard has seen; follows no redirect."""

    def __init__(self, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback
        self._http = httpx2.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, dispatch: Dispatch) -> Receipt:
        """Try once; whatever happens becomes the receipt."""
        body = json.dumps(dispatch.payload, separators=(",", ":")).encode()
        url = httpx2.URL(dispatch.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            address = resolve(url.host, port, allow_loopback=self._allow_loopback)
            headers = signing.headers(dispatch.id, int(time.time()), body, dispatch.secrets)
            headers |= {"Host": url.netloc.decode("ascii"), "Content-Type": "application/json"}
            with self._http.stream(
                "POST",
                url.copy_with(host=str(address)),
                content=body,
                headers=headers,
                extensions={"sni_hostname": url.host},
            ) as answer:
                return Receipt(answer.status_code)  # the body is the receiver's own business
        except WebhookAddressError as error:
            return Receipt(None, str(error))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return Receipt(None, f"{type(error).__name__}: {error}")
