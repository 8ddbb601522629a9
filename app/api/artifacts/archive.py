"""`/v1/jobs/{id}/archive`: all files of a job as one stream."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.http.deps import Reader, WithResources
from app.api.http.documented import header
from app.api.http.transactions import Transaction, TransactionRoute
from app.services.jobs import artifacts
from app.storage.tar import tar_size, tar_stream

router = APIRouter(
    prefix="/v1/jobs/{job_id}/archive", tags=["artifacts"], route_class=TransactionRoute
)

MEDIA_TYPE = "application/x-tar"


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The files as one tar archive",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Content-Disposition": header("its name", example='attachment; filename="job.tar"')
            },
        }
    },
)
def archive(
    job_id: str, resources: WithResources, caller: Reader, transaction: Transaction
) -> StreamingResponse:
    """Download the job's files as one tar archive, without Range: single files resume, this not."""
    files = artifacts.require(transaction, caller, job_id)
    headers = {
        "Content-Length": str(tar_size(files, job_id)),
        "Content-Disposition": f'attachment; filename="{job_id}.tar"',
    }
    stream = tar_stream(files, job_id, resources.store.read)
    return StreamingResponse(stream, media_type=MEDIA_TYPE, headers=headers)
