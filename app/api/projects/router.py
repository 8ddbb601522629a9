"""`/v1/projects`, `/v1/project` and `/v1/keys`: projects, their limits and their API keys."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.http.documented import ETAG
from app.api.http.endpoints import Admin, IfMatch, Operator, Reader, Transaction, TransactionRoute
from app.api.projects.schemas import (
    AuditOut,
    AuditPage,
    KeyList,
    KeyOut,
    KeyRequest,
    NewKeyOut,
    NewProjectOut,
    ProjectEntry,
    ProjectList,
    ProjectOut,
    ProjectRequest,
    Rotation,
)
from app.domain.projects import LimitsChange, Project
from app.services.projects import service as projects

router = APIRouter(prefix="/v1", tags=["project"], route_class=TransactionRoute)


@router.get("/project")
def get_current_project(caller: Reader, transaction: Transaction) -> ProjectOut:
    """Look at the key's project: its limits and what is used of them."""
    queued, running = projects.usage(transaction, caller)
    return ProjectOut.of(projects.get(transaction, caller), queued=queued, running=running)


@router.get("/audit")
def list_audit_entries(
    caller: Admin,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> AuditPage:
    """List changes to anything in the project, newest first."""
    found, next_cursor = projects.audit_page(transaction, caller, limit=limit, cursor=cursor)
    return AuditPage(entries=[AuditOut.of(entry) for entry in found], next_cursor=next_cursor)


@router.get("/projects")
def list_projects(_: Operator, transaction: Transaction) -> ProjectList:
    """List all projects; only with an admin key of the first one."""
    return ProjectList(projects=[ProjectEntry.of(each) for each in projects.listing(transaction)])


@router.post(
    "/projects",
    status_code=HTTPStatus.CREATED,
    responses={HTTPStatus.CONFLICT.value: {"description": "The name is taken"}},
)
def create_project(
    wanted: ProjectRequest, caller: Operator, transaction: Transaction
) -> NewProjectOut:
    """Make a project and its first key; only with an admin key of the first project."""
    return NewProjectOut.of(
        *projects.create_with_key(transaction, caller, wanted.name, wanted.limits)
    )


@router.get("/projects/{project_id}", responses={200: {"headers": {"ETag": ETAG}}})
def get_project(
    project_id: str, response: Response, _: Operator, transaction: Transaction
) -> ProjectEntry:
    """Look at any project; only with an admin key of the first one."""
    return _tagged(response, projects.find(transaction, project_id))


@router.patch("/projects/{project_id}")
def update_project(
    project_id: str,
    wanted: LimitsChange,
    response: Response,
    caller: Operator,
    transaction: Transaction,
    if_match: IfMatch = None,
) -> ProjectEntry:
    """Set limits of a project; only with an admin key of the first one."""
    changed = projects.change_limits(transaction, caller, project_id, wanted, if_match)
    return _tagged(response, changed)


def _tagged(response: Response, project: Project) -> ProjectEntry:
    response.headers["ETag"] = project.etag
    return ProjectEntry.of(project)


key_router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=TransactionRoute)


@key_router.get("")
def list_keys(caller: Admin, transaction: Transaction) -> KeyList:
    """List the project's keys, ended ones included."""
    return KeyList(keys=[KeyOut.of(key) for key in projects.list_keys(transaction, caller)])


@key_router.post("", status_code=HTTPStatus.CREATED)
def create_key(wanted: KeyRequest, caller: Admin, transaction: Transaction) -> NewKeyOut:
    """Make a key; its secret is in this answer and nowhere else."""
    made = projects.create_key_for(
        transaction,
        caller,
        name=wanted.name,
        scope=wanted.scope,
        expires_at=wanted.expires_at,
    )
    return NewKeyOut.of(made)


@key_router.post("/{key_id}/rotate", status_code=HTTPStatus.CREATED)
def rotate_key(
    key_id: str, caller: Admin, transaction: Transaction, rotation: Rotation | None = None
) -> NewKeyOut:
    """Replace a key by a new one of the same name, scope and expiry."""
    grace = timedelta(seconds=(rotation or Rotation()).grace_seconds)
    return NewKeyOut.of(projects.rotate_key(transaction, caller, key_id, grace=grace))


@key_router.delete("/{key_id}")
def revoke_key(key_id: str, caller: Admin, transaction: Transaction) -> KeyOut:
    """End a key at once."""
    return KeyOut.of(projects.revoke_key(transaction, caller, key_id))
