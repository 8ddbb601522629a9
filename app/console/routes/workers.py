"""`/console/workers`: what jobs can run on."""

from fastapi import APIRouter, Response

from app.console.visits import ROOT, PageRoute, SignedIn
from app.services import workers

router = APIRouter(prefix=f"{ROOT}/workers", route_class=PageRoute, include_in_schema=False)


@router.get("")
def listing(visit: SignedIn) -> Response:
    """List the worker classes."""
    with visit.admitted() as desk:
        found = workers.listing(desk.connection)
    return desk.page("workers.html", classes=found)
