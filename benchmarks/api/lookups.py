"""Reads of jobs, with a thousand in the table and with a million."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from urllib.parse import quote

from sqlalchemy import Engine, text

from app.domain.projects import DEFAULT_PROJECT
from app.ids import id_at
from benchmarks.api.client import Connection, Server, message
from benchmarks.api.servers import Api, Servers
from benchmarks.figures import Figure

FEW, MANY, ASKED = 1_000, 1_000_000, 1_500
SPAN = timedelta(days=100)
FLAT = 1.3

# Jobs as they are stored, evenly over the span; every filter's value is that of one in ten.
SEED = text("""
INSERT INTO jobs (id, project_id, status, max_attempts, spec, request, labels, result,
                  created_at, started_at, finished_at)
SELECT 'job_' || lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
       || '7' || substr(md5(i::text), 1, 19),
       :project, CASE i % 10 WHEN 0 THEN 'failed' ELSE 'succeeded' END, 3,
       (:spec)::jsonb || jsonb_build_object('method', 'method-' || i % 10, 'model', 'm-' || i % 10),
       '{}', jsonb_build_object('team', 'team-' || i % 10), '{"sparsity": 0.5}', at, at, at
FROM (SELECT i, now() - (:span)::interval * (1 - i::float8 / :count) AS at
      FROM generate_series(1, :count) AS i) AS made
""")
LABELS = text("""
INSERT INTO labels (project_id, key, value, job_id)
SELECT project_id, key, value, id FROM jobs, jsonb_each_text(labels)
""")


@dataclass(frozen=True)
class Read:
    """One kind of request; `path` may name a job of the middle of the table."""

    name: str
    path: str


def seed(engine: Engine, count: int, spec: str) -> str:
    """Fill the table; returns the id of a job in its middle."""
    with engine.begin() as connection:
        told = {"project": DEFAULT_PROJECT, "spec": spec, "span": SPAN, "count": count}
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(SEED, told)
        connection.execute(LABELS)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("RESET statement_timeout"))
        middle = id_at("job", datetime.now(UTC) - SPAN / 2)
        query = text("SELECT id FROM jobs WHERE id >= :middle ORDER BY id LIMIT 1")
        return str(connection.execute(query, {"middle": middle}).scalar_one())


def reads(middle: str) -> Iterator[Read]:
    """What is asked of both tables."""
    yield Read("GET a job", f"/v1/jobs/{middle}")
    yield Read("list", "/v1/jobs")
    yield Read("list from a cursor", f"/v1/jobs?cursor={middle}")
    yield Read("list, oldest first", "/v1/jobs?sort=created_at")
    for name, value in (("one in ten", "{}1"), ("none", "{}absent")):
        for key, prefix in (("method", "method-"), ("model", "m-"), ("label", "team=team-")):
            yield Read(f"list by {key}: {name}", f"/v1/jobs?{key}={value.format(prefix)}")
    yield Read("list by status: one in ten", "/v1/jobs?status=failed")
    yield Read("list by status: none", "/v1/jobs?status=running")
    before = quote((datetime.now(UTC) - SPAN / 2).isoformat())
    yield Read("list by time", f"/v1/jobs?created_before={before}")


async def _times(
    servers: tuple[Server, Server], paths: tuple[str, str], count: int
) -> tuple[list[float], list[float]]:
    """Seconds per answer; the two are asked in turn, so that both meet the same noise."""
    connections = [await Connection.open(server) for server in servers]
    requests = [message(s, "GET", path) for s, path in zip(servers, paths, strict=True)]
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(count + 50):
        for which in (0, 1):
            started = time.perf_counter()
            status, body = await connections[which].ask(requests[which])
            if status != 200:
                raise RuntimeError(f"{status}: {body!r}")
            if turn >= 50:
                taken[which].append(time.perf_counter() - started)
    for connection in connections:
        connection.close()
    return taken


def measure(servers: Servers, count: int = ASKED, many: int = MANY) -> dict[str, Figure]:
    """The 99th percentile in the large table over that in the small one."""
    small, large = servers.api("few"), servers.api("many")
    figures: dict[str, Figure] = {}
    middles = [seed(api.engine, rows, _spec(api)) for api, rows in ((small, FEW), (large, many))]
    for few, much in zip(reads(middles[0]), reads(middles[1]), strict=True):
        pair = (small.server, large.server)
        taken = asyncio.run(_times(pair, (few.path, much.path), count))
        slow = [quantiles(seconds, n=100)[98] for seconds in taken]
        figures[f"{few.name}: p99 of 10^6 jobs / of 10^3"] = Figure(slow[1] / slow[0], most=FLAT)
    return figures


def _spec(api: Api) -> str:
    """A specification as a submit stores it."""
    job = {"model": "tiny", "method": "wanda", "sparsity": 0.5}

    async def submit() -> None:
        connection = await Connection.open(api.server)
        await connection.ask(message(api.server, "POST", "/v1/jobs", job))
        connection.close()

    asyncio.run(submit())
    with api.engine.begin() as connection:
        spec = connection.execute(text("SELECT spec::text FROM jobs LIMIT 1")).scalar_one()
        connection.execute(text("DELETE FROM jobs"))
    return str(spec)
