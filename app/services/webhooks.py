"""Webhook endpoints, and the way of a message from a job's event to its receiver."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy import Connection

from app.db import audit, deliveries, webhooks
from app.domain.access import Caller
from app.domain.errors import DeliveryNotFoundError, WebhookAddressError, WebhookNotFoundError
from app.domain.webhooks import (
    Delivery,
    DeliveryState,
    Dispatch,
    Endpoint,
    Receipt,
    WebhookEvent,
    pause_after,
)
from app.webhooks import signing

ROTATION_GRACE = timedelta(hours=24)


def create(
    connection: Connection, caller: Caller, *, url: str, events: Sequence[WebhookEvent]
) -> tuple[Endpoint, str]:
    """Make an endpoint; its signing secret comes second and is not shown again.

    Raises:
        WebhookAddressError: the URL has no host, or a user and password.
    """
    _check(url)
    secret = signing.new_secret()
    endpoint = webhooks.create(connection, caller.project_id, url=url, events=events, secret=secret)
    audit.record(connection, caller, "webhook.create", endpoint.id)
    return endpoint, secret


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookAddressError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise WebhookAddressError(f"{url!r} is not http://host... or https://host...")
    if parts.username is not None or parts.password is not None:
        raise WebhookAddressError("a webhook's URL has no user and password; check the signature")


def listing(connection: Connection, caller: Caller) -> list[Endpoint]:
    """The project's endpoints, newest first."""
    return webhooks.listing(connection, caller.project_id)


def get(connection: Connection, caller: Caller, endpoint_id: str) -> Endpoint:
    """One endpoint.

    Raises:
        WebhookNotFoundError: the project has none of that id.
    """
    endpoint = webhooks.get(connection, caller.project_id, endpoint_id)
    if endpoint is None:
        raise WebhookNotFoundError(f"there is no webhook {endpoint_id!r}")
    return endpoint


def change(
    connection: Connection,
    caller: Caller,
    endpoint_id: str,
    *,
    url: str | None,
    events: Sequence[WebhookEvent] | None,
    enabled: bool | None,
) -> Endpoint:
    """Set what is given; an endpoint that is enabled again gets what it missed and still waits.

    Raises:
        WebhookNotFoundError: the project has none of that id.
        WebhookAddressError: as in `create`.
    """
    endpoint = get(connection, caller, endpoint_id)
    if url is not None:
        _check(url)
    given = {"url": url, "events": events, "enabled": enabled}
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        return endpoint
    audit.record(connection, caller, "webhook.change", endpoint_id)
    return webhooks.change(connection, endpoint_id, **values)


def rotate(connection: Connection, caller: Caller, endpoint_id: str) -> tuple[Endpoint, str]:
    """Give the endpoint a new secret; the old one signs along for a day."""
    endpoint = get(connection, caller, endpoint_id)
    secret = signing.new_secret()
    webhooks.rotate(connection, endpoint_id, secret, ROTATION_GRACE)
    audit.record(connection, caller, "webhook.rotate", endpoint_id)
    return endpoint, secret


def remove(connection: Connection, caller: Caller, endpoint_id: str) -> None:
    """Forget the endpoint with its deliveries."""
    get(connection, caller, endpoint_id)
    webhooks.remove(connection, endpoint_id)
    audit.record(connection, caller, "webhook.delete", endpoint_id)


def list_deliveries(
    connection: Connection, caller: Caller, endpoint_id: str, *, limit: int, cursor: str | None
) -> tuple[list[Delivery], str | None]:
    """Up to `limit` deliveries, newest first, and the cursor of the next page."""
    get(connection, caller, endpoint_id)
    found = deliveries.page(connection, endpoint_id, limit=limit + 1, before=cursor)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None


def replay(connection: Connection, caller: Caller, endpoint_id: str, delivery_id: str) -> Delivery:
    """Send a delivery again, under the same id.

    Raises:
        WebhookNotFoundError: the project has no such endpoint.
        DeliveryNotFoundError: the endpoint has no such delivery.
    """
    get(connection, caller, endpoint_id)
    delivery = deliveries.replay(connection, endpoint_id, delivery_id)
    if delivery is None:
        raise DeliveryNotFoundError(f"there is no delivery {delivery_id!r} to {endpoint_id!r}")
    audit.record(connection, caller, "webhook.replay", delivery_id)
    return delivery


def settle(connection: Connection, dispatch: Dispatch, receipt: Receipt) -> DeliveryState:
    """Note what came of an attempt; a receiver that is gone is not told again."""
    if receipt.accepted:
        deliveries.settle(connection, dispatch.id, receipt, DeliveryState.DELIVERED, None)
        return DeliveryState.DELIVERED
    pause = None if receipt.gone else pause_after(dispatch.attempts)
    state = DeliveryState.FAILED if pause is None else DeliveryState.PENDING
    deliveries.settle(connection, dispatch.id, receipt, state, pause)
    if receipt.gone:
        webhooks.disable(connection, dispatch.endpoint_id, "the receiver answered 410 Gone")
    return state
