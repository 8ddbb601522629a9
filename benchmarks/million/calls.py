"""Every call that meets the large tables, as the service makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from app.db import (
    artifacts,
    datasets,
    events,
    leases,
    models,
    outbox,
    projects,
    webhooks,
    worker_processes,
    workers,
)
from app.db import jobs as job_rows
from app.db import quarantine as quarantine_rows
from app.db import retention as old
from app.db import shards as shard_rows
from app.domain.jobs import DEFAULT_CLASS, Job, JobFilter, JobStatus, Phase
from app.domain.projects import DEFAULT_PROJECT, Caller, Limits, Scope
from app.ids import id_at
from app.services.jobs import attempts, relay
from app.services.jobs import service as jobs
from app.services.lifecycle import leaderboard, retention
from app.services.sweeps import service as sweeps
from benchmarks.million.fill import EVENTS, KEPT, RUNNING, SPAN, WAITING, waiting

CALLER = Caller("key", DEFAULT_PROJECT, Scope.ADMIN, Limits(queued_jobs=10**9))
PAGE, BATCH = 50, 100
LEASE = timedelta(hours=1)
Call = Callable[[Connection], object]


@dataclass(frozen=True)
class Seen:
    """Rows of one database that its calls ask for.

    Attributes:
        middle: a job from the middle of the table, with its files, in a sweep that nobody needs.
        batch: five hundred ids of jobs that follow it.
        running: a job that a worker has.
        sweep: the sweep of the job in the middle.
        event: the event in the middle of that job's.
        audit: the id in the middle of the audit log.
    """

    middle: str
    batch: list[str]
    running: Job
    sweep: str
    event: int
    audit: int


def look(connection: Connection) -> Seen:
    """Queue some jobs, have some run, and look for what to ask."""
    told: dict[str, Any] = {"middle": id_at("job", datetime.now(UTC) - SPAN / 2)}
    for _ in range(WAITING + RUNNING):
        job_rows.queue(connection, waiting(), key_id="key", action=None)
    for _ in range(RUNNING):
        running = attempts.claim(connection, worker="benchmark", lease=LEASE)
    if running is None:
        raise RuntimeError("no job could be claimed")
    query = "SELECT id FROM jobs WHERE id >= :middle AND status = 'succeeded' ORDER BY id LIMIT 500"
    batch = list(connection.execute(text(query), told).scalars())
    in_sweep = text(
        "SELECT id, sweep_id FROM jobs WHERE id >= :middle AND sweep_id IS NOT NULL "
        "AND status = 'succeeded' AND NOT EXISTS (SELECT FROM model_versions AS version JOIN jobs "
        "AS member ON member.id = version.job_id WHERE member.sweep_id = jobs.sweep_id) "
        "ORDER BY id LIMIT 1"
    )
    middle, sweep = connection.execute(in_sweep, told).one()
    log = events.page(connection, middle, after=0, limit=EVENTS)
    half = connection.execute(text("SELECT max(id) / 2 FROM audit")).scalar_one()
    return Seen(middle, batch, running, sweep, log[len(log) // 2].id, int(half))


def _list(**filters: Any) -> Call:
    only = JobFilter(**filters)
    return lambda connection: jobs.page(connection, CALLER, limit=PAGE, cursor=None, only=only)


def lists(seen: Seen) -> Mapping[str, Call]:
    """What people and programs look at."""
    at, half = seen.middle, datetime.now(UTC) - SPAN / 2
    newest = JobFilter()
    found = {
        "job": lambda c: jobs.get(c, CALLER, at),
        "jobs": _list(),
        "jobs, from a cursor": lambda c: jobs.page(c, CALLER, limit=PAGE, cursor=at, only=newest),
        "jobs, oldest first": _list(oldest_first=True),
        "jobs by time": _list(created_before=half),
        "jobs by sweep": _list(sweep=seen.sweep),
        "jobs by status": _list(status=JobStatus.FAILED),
        "jobs by status, none": _list(status=JobStatus.CANCELLING),
    }
    for key, value in (("method", "method-1"), ("model", "m-1"), ("labels", {"team": "team-1"})):
        none = {"team": "absent"} if isinstance(value, dict) else "absent"
        found[f"jobs by {key}"] = _list(**{key: value})
        found[f"jobs by {key}, none"] = _list(**{key: none})
    return found | {
        "jobs by method and model": _list(method="method-1", model="m-1"),
        "jobs by method and status": _list(method="method-1", status=JobStatus.SUCCEEDED),
        "events of a job": lambda c: jobs.list_events(c, CALLER, at, after=seen.event, limit=100),
        "stream of a job": lambda c: jobs.stream_from(c, CALLER, at, seen.event),
        "files of a job": lambda c: artifacts.of_job(c, at),
        "audit log": lambda c: projects.audit_page(c, DEFAULT_PROJECT, limit=PAGE, before=None),
        "audit log, from a cursor": lambda c: projects.audit_page(
            c, DEFAULT_PROJECT, limit=PAGE, before=seen.audit
        ),
        "sweeps": lambda c: sweeps.counts(c, sweeps.page(c, CALLER, limit=PAGE, cursor=None)[0]),
        "leaderboard": lambda c: leaderboard.rank_members(
            c, sweeps.get(c, CALLER, seen.sweep), None
        ),
        "models": lambda c: models.newest(c, DEFAULT_PROJECT, limit=PAGE, after=None),
        "deliveries": lambda c: webhooks.delivery_page(c, "whk", limit=PAGE, before=None),
        "usage": lambda c: projects.used(c, DEFAULT_PROJECT, up_to=1000),
        "time of earlier jobs": lambda c: job_rows.median_seconds(
            c, DEFAULT_PROJECT, "m-1", "method-1"
        ),
        "workers, one by one": lambda c: worker_processes.listing(c, DEFAULT_PROJECT),
        "figures for Prometheus": workers.load,
    }


def upkeep(seen: Seen) -> Mapping[str, Call]:
    """What workers and maintenance do: retention, garbage collection, the rounds of a tick."""
    at, age = seen.middle, timedelta(days=30)
    return {
        "delete a job": lambda c: jobs.delete(c, CALLER, at),
        "delete a sweep": lambda c: sweeps.delete(c, CALLER, seen.sweep),
        "retention: what has expired, nothing": lambda c: old.jobs_with_old_files(
            c, KEPT + timedelta(days=1), limit=BATCH
        ),
        "retention: what has expired": lambda c: old.jobs_with_old_files(
            c, KEPT - timedelta(days=1), limit=BATCH
        ),
        "retention: one job": lambda c: retention.expire(c, age, at),
        "retention: old jobs, nothing": lambda c: old.old_jobs(
            c, KEPT + timedelta(days=1), limit=BATCH
        ),
        "retention: old jobs": lambda c: old.old_jobs(c, KEPT - timedelta(days=1), limit=BATCH),
        "retention: old sweeps": lambda c: old.old_sweeps(c, KEPT - timedelta(days=1), limit=BATCH),
        "retention: delete a sweep": lambda c: retention.delete_sweep(c, age, seen.sweep),
        "gc: owners of files": lambda c: job_rows.owners(c, seen.batch),
        "gc: jobs with checkpoints": lambda c: job_rows.unfinished(c, seen.batch),
        "gc: readers of a data set": lambda c: datasets.is_read(c, "dts_absent"),
        "gc: shards": shard_rows.forget_ended,
        "gc: requests": projects.forget_old_requests,
        "gc: deliveries": lambda c: webhooks.forget_old_deliveries(c, age, limit=BATCH),
        "gc: quarantine": quarantine_rows.forget_gone,
        "tick: expired leases": lambda c: leases.all_expired(c, limit=BATCH),
        "tick: overdue jobs": lambda c: leases.all_overdue(c, limit=BATCH),
        "tick: stranded jobs": lambda c: outbox.stranded(c, timedelta(minutes=5), limit=BATCH),
        "tick: lost messages": lambda c: outbox.unclaimed_since(c, relay.GRACE, ()),
        "tick: due messages": lambda c: outbox.due(c, limit=relay.BATCH),
        "jobs of a retired class": lambda c: job_rows.queued_for(c, DEFAULT_CLASS),
        "submit": lambda c: job_rows.queue(c, waiting(), key_id="key", action="job.submit"),
        "claim": lambda c: attempts.claim(c, worker="benchmark", lease=LEASE),
        "heartbeat": lambda c: attempts.heartbeat(
            c, seen.running, lease=LEASE, phase=Phase.PRUNING, progress=0.5, log=()
        ),
    }
