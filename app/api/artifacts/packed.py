"""`/v1/jobs/{id}/packed`: single files with fewer bytes on the way."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from app.api.http.deps import Reader, WithResources
from app.api.http.documented import header
from app.api.http.transactions import Transaction, TransactionRoute
from app.services.jobs import artifacts
from app.storage.packed import packed_stream

router = APIRouter(
    prefix="/v1/jobs/{job_id}/packed", tags=["artifacts"], route_class=TransactionRoute
)

MEDIA_TYPE = "application/octet-stream"


@router.get(
    "/{path:path}",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The packed form; its parts are told in `sparse/unpack.py`",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {"Content-Encoding": header("`zstd` if that was accepted", example="zstd")},
        }
    },
)
def packed(
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
    return StreamingResponse(stream, media_type=MEDIA_TYPE, headers=headers)
