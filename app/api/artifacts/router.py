"""`/v1/jobs/{id}/artifacts`, `archive`, `packed`: files one by one, together, or packed."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, Response, StreamingResponse

from app.api.http.documented import header
from app.api.http.endpoints import Reader, Transaction, TransactionRoute, WithResources
from app.api.http.files import RESPONSES, WithSender
from app.api.jobs.schemas import ArtifactList, ArtifactOut
from app.services.jobs import artifacts
from app.storage.packed import packed_stream
from app.storage.tar import tar_size, tar_stream

router = APIRouter(
    prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"], route_class=TransactionRoute
)


@router.get("")
def list_artifacts(job_id: str, caller: Reader, transaction: Transaction) -> ArtifactList:
    """List the job's files; empty until it has succeeded."""
    found = artifacts.listing(transaction, caller, job_id)
    return ArtifactList(artifacts=[ArtifactOut.of(artifact) for artifact in found])


@router.head("/{path:path}", include_in_schema=False)
@router.get("/{path:path}", response_class=FileResponse, responses=RESPONSES)
def download_artifact(
    job_id: str, path: str, caller: Reader, transaction: Transaction, sender: WithSender
) -> Response:
    """Download one file; honours Range and If-Range. The ETag is the file's SHA-256."""
    return sender.send(artifacts.get(transaction, caller, job_id, path))


archive_router = APIRouter(
    prefix="/v1/jobs/{job_id}/archive", tags=["artifacts"], route_class=TransactionRoute
)

TAR = "application/x-tar"


@archive_router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The files as one tar archive",
            "content": {TAR: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Content-Disposition": header("its name", example='attachment; filename="job.tar"')
            },
        }
    },
)
def download_archive(
    job_id: str, resources: WithResources, caller: Reader, transaction: Transaction
) -> StreamingResponse:
    """Download the job's files as one tar archive, without Range: single files resume, this not."""
    files = artifacts.require(transaction, caller, job_id)
    headers = {
        "Content-Length": str(tar_size(files, job_id)),
        "Content-Disposition": f'attachment; filename="{job_id}.tar"',
    }
    stream = tar_stream(files, job_id, resources.store.read)
    return StreamingResponse(stream, media_type=TAR, headers=headers)


packed_router = APIRouter(
    prefix="/v1/jobs/{job_id}/packed", tags=["artifacts"], route_class=TransactionRoute
)

BYTES = "application/octet-stream"


@packed_router.get(
    "/{path:path}",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The packed form; its parts are told in `sparse/unpack.py`",
            "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {"Content-Encoding": header("`zstd` if that was accepted", example="zstd")},
        }
    },
)
def download_packed(
    job_id: str,
    path: str,
    resources: WithResources,
    caller: Reader,
    transaction: Transaction,
    start: Annotated[int, Query(ge=0, description="bytes of the file that you have")] = 0,
    accept_encoding: Annotated[str, Header(description="zstd makes it smaller still")] = "",
) -> StreamingResponse:
    """Download a safetensors file packed; the job's `sparse/unpack.py` has form and decoder."""
    artifact = artifacts.get_packable(transaction, caller, job_id, path)
    zstd = "zstd" in accept_encoding
    headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "zstd"} if zstd else {})
    stream = packed_stream(resources.store, artifact, start, compressed=zstd)
    return StreamingResponse(stream, media_type=BYTES, headers=headers)
