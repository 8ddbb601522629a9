"""`/v1/webhooks`: endpoints, their secrets, what was sent to them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.api.http.endpoints import Admin, LoneAdmin, Transaction, TransactionRoute, WithResources
from app.api.webhooks.schemas import (
    DeliveryOut,
    DeliveryPage,
    NewWebhookOut,
    WebhookChange,
    WebhookList,
    WebhookOut,
    WebhookRequest,
)
from app.services.webhooks import service as webhooks

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=TransactionRoute)


@router.get("")
def list_webhooks(caller: Admin, transaction: Transaction) -> WebhookList:
    """List the project's endpoints."""
    found = webhooks.listing(transaction, caller)
    return WebhookList(webhooks=[WebhookOut.of(endpoint) for endpoint in found])


def rules_of(resources: WithResources) -> webhooks.WebhookRules:
    """Where endpoints may be, and how many."""
    settings = resources.settings.webhooks
    return webhooks.WebhookRules(settings.networks, settings.max_endpoints)


Rules = Annotated[webhooks.WebhookRules, Depends(rules_of)]


@router.post("", status_code=HTTPStatus.CREATED)
def create_webhook(
    wanted: WebhookRequest, caller: LoneAdmin, rules: Rules, resources: WithResources
) -> NewWebhookOut:
    """Have a URL told of jobs; its signing secret is in this answer and nowhere else.

    The URL's host must have public addresses, or some that the operator allows.
    """
    webhooks.check_url(wanted.url, rules)
    with resources.engine.begin() as transaction:
        made = webhooks.create(
            transaction, caller, url=wanted.url, events=wanted.events, rules=rules
        )
    return NewWebhookOut.of(made)


@router.get("/{webhook_id}")
def get_webhook(webhook_id: str, caller: Admin, transaction: Transaction) -> WebhookOut:
    """Look at one endpoint."""
    return WebhookOut.of(webhooks.get(transaction, caller, webhook_id))


@router.patch("/{webhook_id}")
def update_webhook(
    webhook_id: str,
    wanted: WebhookChange,
    caller: LoneAdmin,
    rules: Rules,
    resources: WithResources,
) -> WebhookOut:
    """Set URL, events or whether anything is sent; that it failed before is forgotten."""
    if wanted.url is not None:
        webhooks.check_url(wanted.url, rules)
    with resources.engine.begin() as transaction:
        changed = webhooks.change(
            transaction,
            caller,
            webhook_id,
            url=wanted.url,
            events=wanted.events,
            enabled=wanted.enabled,
        )
    return WebhookOut.of(changed)


@router.delete("/{webhook_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_webhook(webhook_id: str, caller: Admin, transaction: Transaction) -> None:
    """Forget an endpoint with its deliveries."""
    webhooks.remove(transaction, caller, webhook_id)


@router.post("/{webhook_id}/rotate", status_code=HTTPStatus.CREATED)
def rotate_webhook(webhook_id: str, caller: Admin, transaction: Transaction) -> NewWebhookOut:
    """Make a new signing secret; for a day, messages carry a signature of the old one too."""
    return NewWebhookOut.of(webhooks.rotate(transaction, caller, webhook_id))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: str,
    caller: Admin,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> DeliveryPage:
    """List what was sent, or still waits to be, newest first."""
    found, next_cursor = webhooks.list_deliveries(
        transaction, caller, webhook_id, limit=limit, cursor=cursor
    )
    out = [DeliveryOut.of(delivery) for delivery in found]
    return DeliveryPage(deliveries=out, next_cursor=next_cursor)


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay", status_code=HTTPStatus.ACCEPTED)
def replay_delivery(
    webhook_id: str, delivery_id: str, caller: Admin, transaction: Transaction
) -> DeliveryOut:
    """Send a message again, under the same id."""
    return DeliveryOut.of(webhooks.replay(transaction, caller, webhook_id, delivery_id))
