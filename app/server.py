"""uvicorn, which lets nobody wait once it is asked to end, and no client keep it waiting."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class Server(uvicorn.Server):
    """As uvicorn's; SIGTERM and SIGINT also end long polls and event streams.

    Whoever waits is answered with what is known, and whoever streams goes on elsewhere from the
    last event: neither is cut, nor holds up the end.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, finish what has begun."""
        await self.lifespan.state["resources"].hub.close()
        await super().shutdown(sockets)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long clients may take, and how many there may be.

    Attributes:
        connections: beyond so many, those that wait for a request are closed, oldest first.
        head_seconds: for the head of a request, from its first byte; of the first, from connecting.
        write_seconds: until a client that reads nothing has taken some of what it is sent.
    """

    connections: int
    head_seconds: float
    write_seconds: float


# Connections beyond the limit that are taken nevertheless, where all the others have requests in
# work: for health probes. Other requests are refused there.
SPARE = 50


class ClientConnection(H11Protocol):
    """As uvicorn's, which waits for heads, for left-over bodies and for readers without end."""

    def __init__(self, patience: Patience, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience
        self._began = self.loop.time()
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, in the place of one that only waits where there are too many."""
        super().connection_made(transport)
        self._end_dead_readers(transport)
        excess = len(self.connections) - self._patience.connections
        if excess > 0:
            ours = (each for each in self.connections if isinstance(each, ClientConnection))
            idle = [each for each in ours if each is not self and each.idle]
            if idle:
                min(idle, key=lambda each: each._began).transport.abort()  # noqa: SLF001
            elif excess > SPARE:
                transport.abort()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Go on with what came."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._began = self.loop.time()
        super().on_response_complete()
        self._watch_head()

    def pause_writing(self) -> None:
        """The client does not read: it may take a while, but not for ever."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._patience.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    @property
    def idle(self) -> bool:
        """Is it on the client to send something: a head, or the rest of a body we answered?"""
        answered = self.cycle is not None and self.cycle.response_complete
        theirs = self.conn.their_state
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and answered)

    @property
    def _between_requests(self) -> bool:
        """Is a request answered, and nothing of the next one here? uvicorn times that."""
        answered = self.cycle is not None and self.conn.their_state is h11.IDLE
        return answered and not self.conn.trailing_data[0]

    def _watch_head(self) -> None:
        due = self.idle and not self._between_requests
        if due and self._head_timer is None:
            self._head_timer = self.loop.call_later(
                self._patience.head_seconds, self.transport.abort
            )
        elif not due and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_dead_readers(self, transport: asyncio.Transport) -> None:
        """Have the kernel do the same for what it still holds when we have closed."""
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = round(1000 * self._patience.write_seconds)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
