"""Fills a database with jobs that have ended, and all that belongs to them."""

from datetime import timedelta

from sqlalchemy import Connection, Engine, text

from app.db import projects, sweeps, workers
from app.domain.jobs import NewJob
from app.domain.projects import DEFAULT_PROJECT, Limits
from app.domain.submission import JobRequest, resolve
from app.domain.sweeps import SweepRequest
from app.planning.machines import Machine

SPAN = timedelta(days=100)
KEPT = timedelta(days=60)  # files of older jobs have expired
EVENTS = 10  # of a job
MEMBERS = 40  # of a sweep
WAITING, RUNNING = 100, 20  # jobs, whatever has ended before
WORKER = Machine("cpu", 8 << 30, 2, "cpu", 0, None, gflops=20.0, disk_rate=1e9)
REQUEST = JobRequest(model="tiny", method="magnitude", sparsity=0.5)
SWEEP = SweepRequest.model_validate(
    {"model": "tiny", "methods": [{"method": "magnitude"}], "sparsities": [0.5]}
)

_ID = """lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
         || '7' || substr(md5(i::text), 1, 19)"""
# Evenly over the span; every filter's value is that of one in ten. One in ten has failed.
_JOBS = f"""
INSERT INTO jobs (id, project_id, sweep_id, status, max_attempts, attempt, spec, request, labels,
                  result, error_kind, error_code, error_message,
                  created_at, started_at, finished_at, files_expired_at)
SELECT 'job_' || {_ID}, :project,
       CASE WHEN i % (2 * :members) < :members THEN :sweep || '-' || i / (2 * :members) END,
       CASE WHEN failed THEN 'failed' ELSE 'succeeded' END, 3, 1,
       (:spec)::jsonb || jsonb_build_object('method', 'method-' || i % 10,
                                            'model', 'm-' || i / 10 % 10),
       (:request)::jsonb, jsonb_build_object('team', 'team-' || i % 10),
       CASE WHEN NOT failed THEN '{{"sparsity": 0.5, "seconds": 60}}'::jsonb END,
       CASE WHEN failed THEN 'user_error' END, CASE WHEN failed THEN 'model_load_failed' END,
       CASE WHEN failed THEN 'a tensor is missing' END, at, at, at,
       CASE WHEN NOT failed AND at < now() - (:kept)::interval THEN at END
FROM (SELECT i, i % 10 = 0 AS failed, now() - (:span)::interval * (1 - i::float8 / :count) AS at
      FROM generate_series(1, :count) AS i) AS made
"""
_SWEEPS = """
INSERT INTO sweeps (id, project_id, status, request, created_at, finished_at)
SELECT :sweep || '-' || i, :project, 'succeeded', request, now(), now()
FROM sweeps, generate_series(0, :count / (2 * :members)) AS i WHERE id = :sweep
"""
# What belongs to a job, by table: one statement each.
_BELONGINGS = (
    """INSERT INTO labels (project_id, key, value, job_id)
       SELECT project_id, key, value, id FROM jobs, jsonb_each_text(labels)""",
    """INSERT INTO events (subject_id, attempt, at, level, type, message, data)
       SELECT id, 1, created_at, 'info', 'block', 'pruning model.layers.' || n,
              jsonb_build_object('block', 'model.layers.' || n, 'done', n, 'total', :events)
       FROM (SELECT id, created_at FROM jobs ORDER BY id) AS made, generate_series(1, :events) AS n
    """,
    """INSERT INTO artifacts (job_id, path, attempt, size, sha256, media_type)
       SELECT id, path, 1, 1000, md5(id), 'application/json'
       FROM jobs, unnest(ARRAY['config.json', 'manifest.json', 'model.safetensors']) AS path
       WHERE status = 'succeeded' AND files_expired_at IS NULL""",
    """INSERT INTO audit (project_id, key_id, at, action, target)
       SELECT project_id, 'key', created_at, 'job.submit', id FROM jobs ORDER BY id""",
    """INSERT INTO webhooks (id, project_id, url, events, secret)
       VALUES ('whk', :project, 'http://localhost', ARRAY['job.succeeded'], 'secret')""",
    """INSERT INTO deliveries (id, endpoint_id, event, payload, state, next_at, created_at)
       SELECT 'msg_' || substr(id, 5), 'whk', 'job.succeeded', '{}', 'delivered', NULL, created_at
       FROM jobs WHERE created_at > now() - interval '30 days'""",
    """INSERT INTO models (project_id, name)
       SELECT :project, 'model-' || i FROM generate_series(1, :count / 1000) AS i""",
    """INSERT INTO model_versions (project_id, name, version, job_id)
       SELECT :project, 'model-' || 1 + at % (:count / 1000), 1 + at / (:count / 1000), id
       FROM (SELECT id, row_number() OVER (ORDER BY id) / 100 AS at,
                    row_number() OVER (ORDER BY id) % 100 = 50 AS named FROM jobs
             WHERE status = 'succeeded' AND files_expired_at IS NULL) AS kept WHERE named""",
    """INSERT INTO idempotency (project_id, key, fingerprint, answer, created_at)
       SELECT project_id, id, 'x', '{}', created_at FROM jobs
       WHERE created_at > now() - interval '1 day'""",
)


def fill(engine: Engine, count: int) -> None:
    """Store so many jobs."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        projects.set_limits(connection, DEFAULT_PROJECT, Limits(queued_jobs=10**9))
        workers.put(connection, WORKER)
        _store(connection, count)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("RESET statement_timeout"))


def waiting() -> NewJob:
    """A job as a submit stores it."""
    return NewJob(request=REQUEST, spec=resolve(REQUEST), max_attempts=3)


def _store(connection: Connection, count: int) -> None:
    told = {
        "project": DEFAULT_PROJECT,
        "span": SPAN,
        "kept": KEPT,
        "count": count,
        "events": EVENTS,
        "members": MEMBERS,
        "sweep": sweeps.create(connection, DEFAULT_PROJECT, SWEEP).id,
        "spec": resolve(REQUEST).model_dump_json(),
        "request": REQUEST.model_dump_json(exclude_unset=True),
    }
    for statement in (_SWEEPS, _JOBS, *_BELONGINGS):
        connection.execute(text(statement), told)
