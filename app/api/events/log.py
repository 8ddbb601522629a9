"""A log of events over HTTP: a page of it, or the whole as it grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from app.api.events.stream import MEDIA_TYPE, stream
from app.api.http.deps import Watcher, WithResources
from app.api.jobs.schemas import EventOut, EventPage
from app.domain.jobs import Event
from app.domain.projects import Caller


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
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
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
        if MEDIA_TYPE in self.accept:
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
