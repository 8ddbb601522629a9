"""Webhook endpoints, and the way of a message from a job's event to its receiver."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from app.db import audit, deliveries, projects, webhooks
from app.domain.access import Caller
from app.domain.errors import (
    DeliveryNotFoundError,
    WebhookAddressError,
    WebhookNotFoundError,
    WebhookQuotaError,
)
from app.domain.urls import parse_url
from app.domain.webhooks import (
    Delivery,
    DeliveryState,
    Dispatch,
    Endpoint,
    Receipt,
    WebhookEvent,
    pause_after,
)
from app.services.notices import tell
from app.webhooks import guard, signing
from app.webhooks.guard import Network

ROTATION_GRACE = timedelta(hours=24)
# How long a request may wait for a name to be resolved.
LOOKUP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """What the installation says about endpoints.

    Attributes:
        networks: where messages may go beside public addresses.
        most: endpoints of a project.
    """

    networks: Sequence[Network] = ()
    most: int = 20


def check_url(url: str, rules: WebhookRules) -> None:
    """Refuse a URL to which nothing could be delivered; may take a while, to resolve the name.

    Raises:
        WebhookAddressError: it is none, or its host is at an address that is not public.
    """
    try:
        target = parse_url(url)
    except ValueError as error:
        raise WebhookAddressError(str(error)) from error
    guard.refuse_known(target.host, target.port, rules.networks, LOOKUP_SECONDS)


def create(
    connection: Connection,
    caller: Caller,
    *,
    url: str,
    events: Sequence[WebhookEvent],
    rules: WebhookRules,
) -> tuple[Endpoint, str]:
    """Make an endpoint of a checked URL; its signing secret comes second and is not shown again.

    Raises:
        WebhookQuotaError: the project has as many as it may have.
    """
    projects.lock(connection, caller.project_id)
    if webhooks.count(connection, caller.project_id) >= rules.most:
        raise WebhookQuotaError(f"the project has {rules.most} webhooks, which is the most")
    secret = signing.new_secret()
    endpoint = webhooks.create(connection, caller.project_id, url=url, events=events, secret=secret)
    audit.record(connection, caller, "webhook.create", endpoint.id)
    return endpoint, secret


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
    """Set what is given, a checked URL among it.

    An endpoint that is enabled again gets what it missed and still waits.

    Raises:
        WebhookNotFoundError: the project has none of that id.
    """
    endpoint = get(connection, caller, endpoint_id)
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


def settle(
    connection: Connection, dispatch: Dispatch, receipt: Receipt, patience: timedelta
) -> DeliveryState:
    """Note what came of an attempt.

    A receiver that is gone is not told again, nor is one that has failed for longer than
    `patience`; until it is enabled again, what is not delivered waits.
    """
    webhooks.lock(connection, dispatch.endpoint_id)
    if receipt.accepted:
        deliveries.settle(connection, dispatch, receipt, DeliveryState.DELIVERED, None)
        webhooks.succeeded(connection, dispatch.endpoint_id)
        return DeliveryState.DELIVERED
    pause = None if receipt.gone else pause_after(dispatch.attempts)
    state = DeliveryState.FAILED if pause is None else DeliveryState.PENDING
    if not deliveries.settle(connection, dispatch, receipt, state, pause):
        return state
    lasting = webhooks.failed(connection, dispatch.endpoint_id, receipt.reason, patience)
    if receipt.gone:
        _disable(connection, dispatch.endpoint_id, "the receiver answered 410 Gone")
    elif lasting:
        hours = f"{patience / timedelta(hours=1):g}"
        reason = f"every attempt of {hours} hours failed, the last one: {receipt.reason}"
        _disable(connection, dispatch.endpoint_id, reason)
    return state


def _disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    """Disable an endpoint; the audit log and the project's other endpoints are told."""
    endpoint = webhooks.disable(connection, endpoint_id, reason)
    if endpoint is None:
        return
    audit.record_own(connection, endpoint.project_id, "webhook.disable", endpoint.id)
    about = {"webhook_id": endpoint.id, "reason": reason}
    tell(connection, endpoint.project_id, WebhookEvent.DISABLED, about)
