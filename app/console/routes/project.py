"""`/console/project`: limits and what is used of them, keys, changes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app.api.projects.schemas import KeyRequest
from app.console.visits import ROOT, PageRoute, SignedIn
from app.domain.projects import AuditEntry, Key, Scope
from app.services.projects import service as projects

PROJECT = f"{ROOT}/project"
router = APIRouter(prefix=PROJECT, route_class=PageRoute, include_in_schema=False)

PAGE = 25


@router.post("/keys")
def create_key(visit: SignedIn) -> Response:
    """Make a key; its secret is on this page and nowhere else."""
    asked = {name: visit.field(name) for name in ("name", "scope")}
    try:
        wanted = KeyRequest.model_validate(asked)
    except ValidationError as error:
        issues = [issue | {"loc": ("body", *issue["loc"])} for issue in error.errors()]
        raise RequestValidationError(issues, body=asked) from error
    with visit.admitted(Scope.ADMIN) as desk:
        key, secret = projects.create_key_for(
            desk.connection, desk.caller, name=wanted.name, scope=wanted.scope, expires_at=None
        )
    return desk.page("new_key.html", key=key, secret=secret)


@router.post("/keys/{key_id}/revoke")
def revoke_key(key_id: str, visit: SignedIn) -> Response:
    """End a key, and with it its sessions."""
    with visit.admitted(Scope.ADMIN) as desk:
        projects.revoke_key(desk.connection, desk.caller, key_id)
    return RedirectResponse(PROJECT, HTTPStatus.SEE_OTHER)


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
        scopes=list(Scope),
        entries=entries,
        cursor=cursor,
        first=PROJECT,
        following=following and f"{PROJECT}?cursor={following}",
    )
