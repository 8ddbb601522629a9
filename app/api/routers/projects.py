"""`/v1/project`, `/v1/audit`: the caller's project, its limits, and who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Admin, Reader, Transaction
from app.api.schemas.access import AuditOut, AuditPage, ProjectOut
from app.services import projects

router = APIRouter(prefix="/v1", tags=["project"])


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
