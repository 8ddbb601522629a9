"""An HTTP client that costs next to nothing, so that the server is what is measured."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Server:
    """Where to send requests, and with which key."""

    port: int
    key: str = ""


def message(server: Server, method: str, path: str, body: Any = None) -> bytes:
    """A request, ready to be sent."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"Authorization: Bearer {server.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


class Connection:
    """One connection, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: Server) -> "Connection":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
        body = await self.reader.readexactly(int(lengths[0])) if lengths else b""
        return int(head[9:12]), body

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


async def rate(server: Server, request: bytes, *, clients: int, seconds: float) -> float:
    """Answers with 2xx per second, from so many clients side by side."""
    until = time.perf_counter() + seconds

    async def work() -> int:
        connection = await Connection.open(server)
        done = 0
        while time.perf_counter() < until:
            status, body = await connection.ask(request)
            if status // 100 != 2:
                raise RuntimeError(f"{status}: {body!r}")
            done += 1
        connection.close()
        return done

    started = time.perf_counter()
    answered = await asyncio.gather(*(work() for _ in range(clients)))
    return sum(answered) / (time.perf_counter() - started)
