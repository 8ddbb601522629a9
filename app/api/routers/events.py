"""`/v1/jobs/{id}/events`: the log as a list, or as it grows."""

from http import HTTPStatus
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse

from app.api.deps import Reader, Resources, WithResources
from app.api.event_stream import MEDIA_TYPE, stream
from app.api.schemas.jobs import EventOut, EventPage
from app.domain.access import Caller
from app.services import jobs

router = APIRouter(prefix="/v1/jobs/{job_id}/events", tags=["events"])

After = Annotated[int, Query(ge=0, lt=2**63, description="id of the last event seen")]


@router.get(
    "",
    response_model=EventPage,
    responses={
        200: {
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
            "description": "A page of the log; with `Accept: text/event-stream` the log as it "
            "grows, each entry with its id, until the job has ended.",
        },
        204: {"description": "A stream was asked for, and there is nothing more to come."},
    },
)
async def events(
    job_id: str,
    resources: WithResources,
    caller: Reader,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> Response:
    """Read the job's event log, oldest first."""
    seen = int(last_event_id) if last_event_id is not None else after
    if MEDIA_TYPE in accept:
        cursor = await run_sync(_stream_from, resources, caller, job_id, seen)
        if cursor is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return stream(resources.hub, job_id, cursor, resources.settings.api.keep_alive_seconds)
    page = await run_sync(_page, resources, caller, job_id, seen, limit)
    return JSONResponse(page.model_dump(mode="json"))


def _page(resources: Resources, caller: Caller, job_id: str, after: int, limit: int) -> EventPage:
    with resources.engine.connect() as connection:
        found = jobs.list_events(connection, caller, job_id, after=after, limit=limit)
    return EventPage(events=[EventOut.of(event) for event in found])


def _stream_from(resources: Resources, caller: Caller, job_id: str, seen: int) -> int | None:
    with resources.engine.connect() as connection:
        return jobs.stream_from(connection, caller, job_id, seen)
