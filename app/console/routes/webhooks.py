"""`/console/webhooks`: who is told, and what was sent."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app.api.http.endpoints import WithResources
from app.api.webhooks.router import rules_of
from app.api.webhooks.schemas import WebhookRequest
from app.console.visits import ROOT, PageRoute, SignedIn, Visit
from app.domain.projects import Scope
from app.domain.webhooks import ENDS, WebhookAddressError, WebhookEvent
from app.messages import in_words
from app.services.webhooks import service as webhooks

WEBHOOKS = f"{ROOT}/webhooks"
router = APIRouter(prefix=WEBHOOKS, route_class=PageRoute, include_in_schema=False)

PAGE = 25


@router.get("")
def listing(visit: SignedIn) -> Response:
    """List endpoints, newest first."""
    return _listed(visit)


@router.post("")
def create(visit: SignedIn, resources: WithResources) -> Response:
    """Make an endpoint; its signing secret is on this page and nowhere else."""
    with visit.admitted(Scope.ADMIN):  # before a name is resolved for anybody
        rules = rules_of(resources)
    try:
        wanted = WebhookRequest.model_validate(
            {"url": visit.field("url"), "events": visit.form.get("events", [])}
        )
        webhooks.check_url(wanted.url, rules)
    except ValidationError as error:
        return _listed(visit, [in_words(issue) for issue in error.errors()])
    except WebhookAddressError as error:
        return _listed(visit, [str(error)])
    with visit.admitted(Scope.ADMIN) as desk:
        endpoint, secret = webhooks.create(
            desk.connection, desk.caller, url=wanted.url, events=wanted.events, rules=rules
        )
    return desk.page("new_webhook.html", endpoint=endpoint, secret=secret)


def _listed(visit: Visit, wrong: Sequence[str] = ()) -> Response:
    with visit.admitted(Scope.ADMIN) as desk:
        found = webhooks.listing(desk.connection, desk.caller)
    return desk.page(
        "webhooks.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK,
        endpoints=found,
        wrong=wrong,
        url=visit.field("url"),
        events=list(WebhookEvent),
        ticked=visit.form.get("events", ENDS),
    )


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


@router.post("/{webhook_id}/{change}")
def change(
    webhook_id: str, change: Literal["enable", "disable", "delete"], visit: SignedIn
) -> Response:
    """Have an endpoint told again, or not any more; forget it with its deliveries."""
    with visit.admitted(Scope.ADMIN) as desk:
        if change == "delete":
            webhooks.remove(desk.connection, desk.caller, webhook_id)
            return RedirectResponse(WEBHOOKS, HTTPStatus.SEE_OTHER)
        webhooks.change(
            desk.connection,
            desk.caller,
            webhook_id,
            url=None,
            events=None,
            enabled=change == "enable",
        )
    return RedirectResponse(f"{WEBHOOKS}/{webhook_id}", HTTPStatus.SEE_OTHER)
