"""Events as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator, Sequence

from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine

from app.api.http.feeds import PAGE, Hub, Message, Read
from app.api.jobs.schemas import EventOut
from app.db import events
from app.domain.jobs import Event

MEDIA_TYPE = "text/event-stream"


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
    return StreamingResponse(lines(), media_type=MEDIA_TYPE, headers=headers)
