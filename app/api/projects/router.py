"""`/v1/project`, `/v1/audit`, `/v1/projects`: one's own project, its changes; all projects."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.http.deps import Admin, IfMatch, Operator, Reader
from app.api.http.documented import ETAG
from app.api.http.transactions import Transaction, TransactionRoute
from app.api.projects.schemas import (
    AuditOut,
    AuditPage,
    NewProjectOut,
    ProjectEntry,
    ProjectList,
    ProjectOut,
    ProjectRequest,
)
from app.domain.projects import LimitsChange, Project
from app.services.projects import service as projects

router = APIRouter(prefix="/v1", tags=["project"], route_class=TransactionRoute)


@router.get("/project")
def get(caller: Reader, transaction: Transaction) -> ProjectOut:
    """Look at the key's project: its limits and what is used of them."""
    queued, running = projects.usage(transaction, caller)
    return ProjectOut.of(projects.get(transaction, caller), queued=queued, running=running)


@router.get("/audit")
def audit(
    caller: Admin,
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> AuditPage:
    """List changes to anything in the project, newest first."""
    found, next_cursor = projects.audit_page(transaction, caller, limit=limit, cursor=cursor)
    return AuditPage(entries=[AuditOut.of(entry) for entry in found], next_cursor=next_cursor)


@router.get("/projects")
def listing(_: Operator, transaction: Transaction) -> ProjectList:
    """List all projects; only with an admin key of the first one."""
    return ProjectList(projects=[ProjectEntry.of(each) for each in projects.listing(transaction)])


@router.post(
    "/projects",
    status_code=HTTPStatus.CREATED,
    responses={HTTPStatus.CONFLICT.value: {"description": "The name is taken"}},
)
def create(wanted: ProjectRequest, caller: Operator, transaction: Transaction) -> NewProjectOut:
    """Make a project and its first key; only with an admin key of the first project."""
    return NewProjectOut.of(*projects.found(transaction, caller, wanted.name, wanted.limits))


@router.get("/projects/{project_id}", responses={200: {"headers": {"ETag": ETAG}}})
def look(
    project_id: str, response: Response, _: Operator, transaction: Transaction
) -> ProjectEntry:
    """Look at any project; only with an admin key of the first one."""
    return _tagged(response, projects.find(transaction, project_id))


@router.patch("/projects/{project_id}")
def change(
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
