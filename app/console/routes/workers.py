"""`/console/workers`: what jobs can run on."""

from fastapi import APIRouter, Response

from app.console.visits import ROOT, PageRoute, SignedIn
from app.services import workers

router = APIRouter(prefix=f"{ROOT}/workers", route_class=PageRoute, include_in_schema=False)


@router.get("")
def listing(visit: SignedIn) -> Response:
    """List the workers one by one, and their classes."""
    with visit.admitted() as desk:
        classes = workers.listing(desk.connection)
        processes = workers.processes(desk.connection, desk.caller)
    return desk.page("workers.html", classes=classes, processes=processes)
