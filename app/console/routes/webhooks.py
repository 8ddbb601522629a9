"""`/console/webhooks`: who is told, and what was sent."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from app.console.visits import ROOT, PageRoute, SignedIn
from app.domain.projects import Scope
from app.services.webhooks import service as webhooks

WEBHOOKS = f"{ROOT}/webhooks"
router = APIRouter(prefix=WEBHOOKS, route_class=PageRoute, include_in_schema=False)

PAGE = 25


@router.get("")
def listing(visit: SignedIn) -> Response:
    """List endpoints, newest first."""
    with visit.admitted(Scope.ADMIN) as desk:
        found = webhooks.listing(desk.connection, desk.caller)
    return desk.page("webhooks.html", endpoints=found)


@router.get("/{webhook_id}")
def deliveries(
    webhook_id: str,
    visit: SignedIn,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Look at an endpoint and its deliveries."""
    with visit.admitted(Scope.ADMIN) as desk:
        endpoint = webhooks.get(desk.connection, desk.caller, webhook_id)
        found, following = webhooks.list_deliveries(
            desk.connection, desk.caller, webhook_id, limit=PAGE, cursor=cursor
        )
    here = f"{WEBHOOKS}/{webhook_id}"
    return desk.page(
        "webhook.html",
        endpoint=endpoint,
        deliveries=found,
        cursor=cursor,
        first=here,
        following=following and f"{here}?cursor={following}",
    )


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay")
def replay(webhook_id: str, delivery_id: str, visit: SignedIn) -> Response:
    """Send a message again."""
    with visit.admitted(Scope.ADMIN) as desk:
        webhooks.replay(desk.connection, desk.caller, webhook_id, delivery_id)
    return RedirectResponse(f"{WEBHOOKS}/{webhook_id}", HTTPStatus.SEE_OTHER)
