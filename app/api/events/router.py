"""`/v1/jobs/{id}/events`, `/v1/sweeps/{id}/events`: the log as a list, or as it grows.

Streams are server-sent events (WHATWG HTML, section 9.2).
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Connection, Engine

from app.api.http.endpoints import Watcher, WithResources
from app.api.http.feeds import PAGE, Hub, Message, Read
from app.api.jobs.schemas import EventOut, EventPage
from app.db import events
from app.domain.jobs import Event
from app.domain.projects import Caller
from app.services.jobs import service as jobs
from app.services.sweeps import service as sweeps

EVENT_STREAM = "text/event-stream"


def reader(engine: Engine) -> Read:
    """What the hub reads with: a page of a job's events, on a connection of that moment."""

    def read(job_id: str, after: int) -> Sequence[Message]:
        with engine.connect() as connection:
            found = events.page(connection, job_id, after=after, limit=PAGE)
        return [_message(event) for event in found]

    async def read_in_thread(job_id: str, after: int) -> Sequence[Message]:
        return await run_sync(read, job_id, after)

    return read_in_thread


def _message(event: Event) -> Message:
    data = EventOut.of(event).model_dump_json()
    text = f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"
    return Message(event.id, text.encode(), event.last)


def stream(hub: Hub, job_id: str, after: int, keep_alive: float) -> StreamingResponse:
    """The job's events from `after` on, as they happen; ends with the event that ends the job."""

    async def lines() -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        async for text in hub.watch(job_id, after, keep_alive):
            yield text or b": keep-alive\n\n"

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type=EVENT_STREAM, headers=headers)


class Log(Protocol):
    """Whose events they are: the services of jobs and of sweeps."""

    def list_events(
        self, connection: Connection, caller: Caller, subject_id: str, /, *, after: int, limit: int
    ) -> Sequence[Event]:
        """Events that follow `after`, oldest first."""

    def stream_from(
        self, connection: Connection, caller: Caller, subject_id: str, seen: int, /
    ) -> int | None:
        """Where a watcher that has seen `seen` goes on; None where nothing will follow."""


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        "description": "A page of the log; with `Accept: text/event-stream` the log as it "
        "grows, each entry with its id, until the end.",
    },
    204: {"description": "A stream was asked for, and there is nothing more to come."},
}


@dataclass
class LogRequest:
    """Who asks, from where on, and how it wants to be told."""

    resources: WithResources
    caller: Watcher
    after: Annotated[int, Query(ge=0, lt=2**63, description="id of the last event seen")] = 0
    limit: Annotated[int, Query(ge=1, le=1000)] = 200
    accept: Annotated[str, Header()] = ""
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None

    async def answer(self, log: Log, subject_id: str) -> Response:
        """The page, or the stream. No connection is held while it is open."""
        seen = int(self.last_event_id) if self.last_event_id is not None else self.after
        if EVENT_STREAM in self.accept:
            cursor = await run_sync(self._stream_from, log, subject_id, seen)
            if cursor is None:
                return Response(status_code=HTTPStatus.NO_CONTENT)
            keep_alive = self.resources.settings.api.keep_alive_seconds
            return stream(self.resources.hub, subject_id, cursor, keep_alive)
        page = await run_sync(self._page, log, subject_id, seen)
        return JSONResponse(page.model_dump(mode="json"))

    def _page(self, log: Log, subject_id: str, seen: int) -> EventPage:
        with self.resources.engine.connect() as connection:
            found = log.list_events(
                connection, self.caller, subject_id, after=seen, limit=self.limit
            )
        return EventPage(events=[EventOut.of(event) for event in found])

    def _stream_from(self, log: Log, subject_id: str, seen: int) -> int | None:
        with self.resources.engine.connect() as connection:
            return log.stream_from(connection, self.caller, subject_id, seen)


WithLogRequest = Annotated[LogRequest, Depends()]


router = APIRouter(prefix="/v1", tags=["events"])


@router.get("/jobs/{job_id}/events", response_model=EventPage, responses=RESPONSES)
async def list_job_events(job_id: str, request: WithLogRequest) -> Response:
    """Read the job's event log, oldest first."""
    return await request.answer(jobs, job_id)


@router.get("/sweeps/{sweep_id}/events", response_model=EventPage, responses=RESPONSES)
async def list_sweep_events(sweep_id: str, request: WithLogRequest) -> Response:
    """Read the sweep's event log, oldest first: what its members reached, and what it did."""
    return await request.answer(sweeps, sweep_id)
