"""What a long queue costs: a claim, and what maintenance and Prometheus ask again and again."""

from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy import Connection, Engine, text

from app.db import outbox, workers
from app.domain.jobs import DEFAULT_CLASS
from app.planning.machines import SILENT, Machine
from app.services.jobs import relay
from benchmarks.scale.operations import Meter, claim, submit

WAITING = (100, 100_000)
OTHER = "large"  # a class of workers
CLAIMS, TIMES = 100, 10
_FILL = """
WITH made AS (
  INSERT INTO jobs (id, project_id, max_attempts, spec, request, worker_class)
  SELECT 'job_' || md5(:worker_class || i), project_id, 3, spec, request, :worker_class
  FROM jobs, generate_series(1, :count) AS i WHERE id = :job RETURNING id, project_id)
INSERT INTO outbox (job_id, project_id, due_at, sent_at)
SELECT id, project_id, now() - interval '1 hour', now() - interval '1 hour' FROM made
"""
_CALLS: Mapping[str, Callable[[Connection], object]] = {
    "claim": partial(claim, worker="benchmark"),
    "look for stranded jobs": partial(outbox.stranded, age=SILENT, limit=100),
    "look for lost messages": partial(outbox.unclaimed_since, age=relay.GRACE, full=()),
    "figures for Prometheus": workers.load,
}


def costs(engine: Engine) -> dict[str, float]:
    """CPU milliseconds of PostgreSQL by call and queue; deletes all jobs of the database."""
    found: dict[str, float] = {}
    with engine.connect() as connection:
        for ahead in (DEFAULT_CLASS, OTHER):
            for count in WAITING:
                with connection.begin():
                    _queue(connection, ahead, count)
                name = (
                    f"{count} jobs of {'its' if ahead == DEFAULT_CLASS else 'another'} class wait"
                )
                meter = Meter(connection)
                for call, work in _CALLS.items():
                    if ahead == DEFAULT_CLASS or call == "claim":
                        times = CLAIMS if call == "claim" else TIMES
                        cost = meter.measure([partial(work, connection)] * times)
                        found[f"{call}, {name}"] = cost.cpu
                with connection.begin():
                    connection.execute(text("DELETE FROM events"))
                    connection.execute(text("DELETE FROM jobs"))
    return found


def _queue(connection: Connection, worker_class: str, count: int) -> None:
    for each in (DEFAULT_CLASS, OTHER):
        workers.put(connection, Machine(each, 8 << 30, 2, "cpu", 0, None, 20.0, 1e9))
    told = {"worker_class": worker_class, "count": count, "job": submit(connection).id}
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text(_FILL), told)
    for _ in range(CLAIMS):
        submit(connection)
    connection.execute(text("ANALYZE jobs, outbox"))
