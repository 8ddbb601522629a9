"""`/console/models`: the project's models, each with its versions."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.console.visits import ROOT, PageRoute, SignedIn, address_of
from app.services import models

MODELS = f"{ROOT}/models"
router = APIRouter(prefix=MODELS, route_class=PageRoute, include_in_schema=False)

PAGE = 50


@router.get("")
def listing(
    visit: SignedIn, cursor: Annotated[str | None, Query(max_length=96)] = None
) -> Response:
    """List models, each with its newest version."""
    with visit.admitted() as desk:
        found, following = models.page(desk.connection, desk.caller, limit=PAGE, cursor=cursor)
    return desk.page(
        "models.html",
        models=found,
        cursor=cursor,
        first=MODELS,
        following=following and f"{MODELS}?cursor={following}",
    )


@router.get("/{name}")
def versions(name: str, visit: SignedIn) -> Response:
    """List the versions of a model, newest first."""
    with visit.admitted() as desk:
        found = models.versions(desk.connection, desk.caller, name)
    return desk.page("model.html", versions=found, name=name, address=address_of(visit.request))
