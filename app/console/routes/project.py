"""`/console/project`: limits and what is used of them, keys, changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.console.visits import ROOT, PageRoute, SignedIn
from app.domain.projects import AuditEntry, Key, Scope
from app.services.projects import service as projects

PROJECT = f"{ROOT}/project"
router = APIRouter(prefix=PROJECT, route_class=PageRoute, include_in_schema=False)

PAGE = 25


@router.get("")
def show(visit: SignedIn, cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None) -> Response:
    """Look at the project; who may manage keys sees them too, and who changed what."""
    with visit.admitted() as desk:
        queued, running = projects.usage(desk.connection, desk.caller)
        keys: list[Key] = []
        entries: list[AuditEntry] = []
        following = None
        if desk.may(Scope.ADMIN):
            keys = projects.list_keys(desk.connection, desk.caller)
            entries, following = projects.audit_page(
                desk.connection, desk.caller, limit=PAGE, cursor=cursor
            )
    return desk.page(
        "project.html",
        queued=queued,
        running=running,
        keys=keys,
        entries=entries,
        cursor=cursor,
        first=PROJECT,
        following=following and f"{PROJECT}?cursor={following}",
    )
