"""Writes a job's events: to its log, to its sweep's, and as messages to the webhooks."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from app.db import artifacts, events, jobs, outbox, sweeps, webhooks
from app.domain.jobs import Artifact, EventType, Job, JobStatus, NewEvent, status_event
from app.domain.sweeps import Sweep, SweepStatus, SweepUnreadableError, best, next_status
from app.domain.webhooks import WebhookEvent
from app.recipes.pruning_report import STATISTICS_FILE
from app.services.lifecycle.leaderboard import member_result

logger = logging.getLogger("secateur.sweeps")


def write(connection: Connection, job: Job, log: Sequence[NewEvent]) -> None:
    """Append to the log of a job whose row this transaction holds."""
    events.append(connection, job.id, job.attempt, log)
    for event in log:
        if event.type is EventType.STATUS:
            status = JobStatus(event.data["status"])
            notify(connection, job.project_id, WebhookEvent(f"job.{status}"), about_job(job))
            if job.sweep_id is not None:
                follow_member(connection, job, status)


def notify(
    connection: Connection, project_id: str, event: WebhookEvent, about: dict[str, Any]
) -> None:
    """Queue a message to every endpoint of the project that wants to hear of the event."""
    notify_endpoints(connection, webhooks.interested(connection, project_id, event), event, about)


def about_job(job: Job) -> dict[str, Any]:
    """Thin on purpose: a receiver that may know more asks for it with its own key."""
    return {"job_id": job.id, "attempt": job.attempt, "labels": job.labels}


def notify_endpoints(
    connection: Connection, endpoint_ids: Sequence[str], event: WebhookEvent, about: dict[str, Any]
) -> None:
    """Queue a message to these endpoints."""
    if endpoint_ids:
        payload = {"type": event, "timestamp": datetime.now(UTC).isoformat(), "data": about}
        webhooks.queue_deliveries(connection, endpoint_ids, event, payload)


def follow_member(connection: Connection, job: Job, status: JobStatus) -> None:
    """Tell a member's sweep of a status that the member, whose row is held, has reached.

    Of two members that end at once, the one whose transaction comes second to the sweep's row
    sees that all have ended.
    """
    if job.sweep_id is None or (status is JobStatus.QUEUED and job.attempt == 0):
        return
    sweep = sweeps.lock(connection, job.sweep_id)
    told = {"job_id": job.id, "status": status, "method": job.method}
    events.append(
        connection,
        sweep.id,
        job.attempt,
        [NewEvent(EventType.MEMBER, f"{job.id} {status}", data=told)],
    )
    if status is JobStatus.SUCCEEDED:
        update_best_member(connection, sweep)
    if status.terminal:
        outbox.release(connection, job)
    counts = jobs.of_sweeps(connection, [sweep.id])[sweep.id]
    set_sweep_status(connection, sweep, next_status(sweep.status, counts))


def set_sweep_status(connection: Connection, sweep: Sweep, status: SweepStatus) -> None:
    """Note the status of a locked sweep, if it is another one, and say so."""
    if status is sweep.status:
        return
    sweeps.set_status(connection, sweep.id, status)
    events.append(connection, sweep.id, 0, [status_event(status)])
    about = {"sweep_id": sweep.id, "labels": sweep.labels}
    notify(connection, sweep.project_id, WebhookEvent(f"sweep.{status}"), about)


def leader_statistics(connection: Connection, leader_id: str) -> Artifact | None:
    """The file of what a leader measured; None where it failed, or is deleted."""
    return artifacts.get(connection, leader_id, STATISTICS_FILE)


def update_best_member(connection: Connection, sweep: Sweep) -> None:
    """Point a locked sweep to the best of its members, if it has an objective."""
    try:
        objective = sweep.request.objective
    except SweepUnreadableError as error:  # its members end all the same
        logger.warning("the best member of %s stays as it is: %s", sweep.id, error)
        return
    if objective is None:
        return
    members = jobs.members(connection, sweep.id)
    found = best([member_result(job, objective.metric) for job in members], objective)
    if (job_id := found.job.id if found else None) != sweep.best_id:
        sweeps.set_best(connection, sweep.id, job_id)
