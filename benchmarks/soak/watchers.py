"""Clients that wait: event streams and long polls, from one thread."""

import asyncio
import random

from benchmarks.api.client import Connection, Server, message
from benchmarks.soak.notes import Notes

POLL_SECONDS = 20
PAUSE = 3.0  # seconds at most between two jobs that one looks at


async def stream(server: Server, notes: Notes) -> None:
    """Follow one job after the other to its end; a gap or a repetition is an error."""
    while notes.going_on:
        if notes.jobs:
            with notes.timed("stream"):
                await _follow(server, notes.jobs[-1])
            notes.seconds.pop("stream", None)  # as long as the job, which says nothing
        await asyncio.sleep(random.uniform(0, PAUSE))


async def poll(server: Server, notes: Notes) -> None:
    """Wait for changes of one job after the other."""
    while notes.going_on:
        if notes.jobs:
            with notes.timed("poll"):
                path = f"/v1/jobs/{notes.jobs[-1]}?wait={POLL_SECONDS}"
                await _ask(server, message(server, "GET", path))
            notes.seconds.pop("poll", None)
        await asyncio.sleep(random.uniform(0, PAUSE))


async def _ask(server: Server, request: bytes) -> bytes:
    connection = await Connection.open(server)
    try:
        status, body = await connection.ask(request)
    finally:
        connection.close()
    if status != 200:
        raise RuntimeError(f"{status}: {body!r}")
    return body


async def _follow(server: Server, job_id: str) -> None:
    request = message(server, "GET", f"/v1/jobs/{job_id}/events")
    accept = b"\r\nAccept: text/event-stream\r\n\r\n"
    connection = await Connection.open(server)
    last, words = 0, b""
    try:
        connection.writer.write(request.removesuffix(b"\r\n\r\n") + accept)
        if b" 200 " not in (head := await connection.reader.readline()):
            raise RuntimeError(head.decode())
        while (line := await connection.reader.readline()) != b"0\r\n":
            if not line:
                raise RuntimeError(f"the stream of {job_id} was cut after {words!r}")
            if line.startswith(b"id: "):
                if int(line[4:]) <= last:
                    raise RuntimeError(f"event {line!r} of {job_id} came after {last}")
                last = int(line[4:])
            elif line.startswith(b"data: "):
                words = line
        if b'"succeeded"' not in words:
            raise RuntimeError(f"the stream of {job_id} ended with {words!r}")
    finally:
        connection.close()
