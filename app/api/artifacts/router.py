"""`/v1/jobs/{id}/artifacts`: list and download published files."""

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from app.api.http.deps import Reader
from app.api.http.files import RESPONSES, WithSender
from app.api.http.transactions import Transaction, TransactionRoute
from app.api.jobs.schemas import ArtifactList, ArtifactOut
from app.services.jobs import artifacts

router = APIRouter(
    prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"], route_class=TransactionRoute
)


@router.get("")
def listing(job_id: str, caller: Reader, transaction: Transaction) -> ArtifactList:
    """List the job's files; empty until it has succeeded."""
    found = artifacts.listing(transaction, caller, job_id)
    return ArtifactList(artifacts=[ArtifactOut.of(artifact) for artifact in found])


@router.head("/{path:path}", include_in_schema=False)
@router.get("/{path:path}", response_class=FileResponse, responses=RESPONSES)
def download(
    job_id: str, path: str, caller: Reader, transaction: Transaction, sender: WithSender
) -> Response:
    """Download one file; honours Range and If-Range. The ETag is the file's SHA-256."""
    return sender.send(artifacts.get(transaction, caller, job_id, path))
