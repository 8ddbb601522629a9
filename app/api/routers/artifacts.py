"""`/v1/jobs/{id}/artifacts`: list and download published files."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import FileResponse, Response

from app.api.deps import Transaction, WithResources
from app.api.schemas.jobs import ArtifactList, ArtifactOut
from app.services import jobs

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"])


@router.get("")
def listing(job_id: str, transaction: Transaction) -> ArtifactList:
    """List the job's files; empty until it has succeeded."""
    found = jobs.list_artifacts(transaction, job_id)
    return ArtifactList(artifacts=[ArtifactOut.of(artifact) for artifact in found])


@router.head("/{path:path}", include_in_schema=False)
@router.get("/{path:path}", response_class=FileResponse)
def download(
    job_id: str,
    path: str,
    resources: WithResources,
    transaction: Transaction,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Download one file; honours Range and If-Range. The ETag is the file's SHA-256."""
    artifact = jobs.get_artifact(transaction, job_id, path)
    etag = f'"{artifact.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, immutable, max-age=31536000"}
    if if_none_match is not None and (etag in if_none_match or if_none_match.strip() == "*"):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    file = resources.store.path(artifact)
    return FileResponse(file, media_type=artifact.media_type, filename=file.name, headers=headers)
