"""Five hundred event streams on one job."""

import asyncio
import time
from datetime import timedelta

from app.domain.job_result import JobResult
from app.domain.jobs import EventType, Job, NewEvent, Phase
from app.services.jobs import attempts
from benchmarks.api.client import Connection, message
from benchmarks.api.servers import Api, Servers
from benchmarks.figures import Figure

WATCHERS, BEATS, PER_BEAT = 500, 20, 5
LEASE = timedelta(minutes=5)


async def _watch(api: Api, job_id: str) -> list[int]:
    """Ids of all events, in the order of their arrival, until the stream ends."""
    connection = await Connection.open(api.server)
    request = message(api.server, "GET", f"/v1/jobs/{job_id}/events")
    accept = b"\r\nAccept: text/event-stream\r\n\r\n"
    connection.writer.write(request.removesuffix(b"\r\n\r\n") + accept)
    ids = []
    while line := await connection.reader.readline():
        if line.startswith(b"id: "):
            ids.append(int(line[4:]))
        elif line == b"0\r\n":
            break
    connection.close()
    return ids


def _work(api: Api, job: Job) -> None:
    for number in range(BEATS):
        log = [NewEvent(EventType.BLOCK, f"block {number}.{i}") for i in range(PER_BEAT)]
        with api.engine.begin() as connection:
            attempts.heartbeat(
                connection, job, lease=LEASE, phase=Phase.PRUNING, progress=0.5, log=log
            )
    with api.engine.begin() as connection:
        attempts.succeed(connection, job, result=JobResult(), files=(), log=())


def _connected(api: Api, watchers: int) -> None:
    while len(api.process.net_connections()) < watchers:
        time.sleep(0.2)
    time.sleep(2)  # the last ones read what has happened so far


async def _run(api: Api, watchers: int) -> tuple[list[list[int]], float]:
    """What every watcher saw, and how many bytes each cost the server."""
    job = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
    connection = await Connection.open(api.server)
    await connection.ask(message(api.server, "POST", "/v1/jobs", job))
    connection.close()
    with api.engine.begin() as transaction:
        claimed = attempts.claim(transaction, worker="benchmark", lease=LEASE)
    if claimed is None:
        raise RuntimeError("the job is gone")
    before = api.process.memory_info().rss
    watching = [asyncio.create_task(_watch(api, claimed.id)) for _ in range(watchers)]
    await asyncio.to_thread(_connected, api, watchers)
    each = (api.process.memory_info().rss - before) / watchers
    await asyncio.to_thread(_work, api, claimed)
    return await asyncio.gather(*watching), each


def measure(servers: Servers, watchers: int = WATCHERS) -> dict[str, Figure]:
    """Events each watcher must see: queued, running, the blocks, succeeded."""
    seen, each = asyncio.run(_run(servers.api("watchers"), watchers))
    expected = 2 + BEATS * PER_BEAT + 1
    whole = sum(len(ids) == expected and ids == sorted(set(ids)) for ids in seen)
    return {
        f"of {watchers} watchers, those that saw every event once": Figure(whole, least=watchers),
        "kilobytes of memory per watcher": Figure(each / 1000),
    }
