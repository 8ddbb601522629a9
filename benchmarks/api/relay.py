"""Ten thousand outbox rows, relayed by two processes' worth of relays at once."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from kombu.utils.json import loads
from redis import Redis
from sqlalchemy import Engine

from app.db import jobs
from app.domain.jobs import DEFAULT_CLASS, NewJob
from app.domain.submission import JobRequest, resolve
from app.queue import CeleryQueue, queue_of
from app.services.jobs import relay
from app.services.quarantine import Guard
from benchmarks.api.servers import Servers
from benchmarks.figures import Figure

ROWS, RELAYS = 10_000, 2


def _relay(engine: Engine, url: str) -> int:
    queue, sent = CeleryQueue(url), 0
    while True:
        found = relay.relay(Guard(engine), queue)
        sent += found
        if not found:
            queue.close()
            return sent


def measure(servers: Servers, rows: int = ROWS) -> dict[str, Figure]:
    """Messages in the broker, by job."""
    api, redis = servers.api("relay"), Redis.from_url(servers.queue_url)
    redis.flushall()
    with api.engine.begin() as connection:
        request = JobRequest(model="tiny", method="magnitude", sparsity=0.5)
        new = NewJob(request=request, spec=resolve(request), max_attempts=1)
        made = {jobs.queue(connection, new, key_id="", action=None)[0].id for _ in range(rows)}
    started = time.perf_counter()
    with ThreadPoolExecutor(RELAYS) as pool:
        list(pool.map(lambda _: _relay(api.engine, servers.queue_url), range(RELAYS)))
    seconds = time.perf_counter() - started
    messages = redis.lrange(queue_of(DEFAULT_CLASS), 0, -1)
    told = Counter(loads(message)["headers"]["argsrepr"] for message in messages)
    redis.close()
    return {
        "jobs whose message was relayed": Figure(len(told), least=len(made)),
        "messages relayed twice": Figure(sum(count - 1 for count in told.values()), most=0),
        "messages relayed per second": Figure(len(messages) / seconds),
    }
