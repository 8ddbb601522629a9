"""Writes a job's events: to its log, to its sweep's, and as messages to the webhooks."""

from collections.abc import Sequence

from sqlalchemy import Connection

from app.db import events
from app.domain.jobs import EventType, Job, JobStatus, NewEvent
from app.domain.webhooks import WebhookEvent
from app.services.lifecycle import sweep_members
from app.services.lifecycle.notifications import about_job, tell


def write(connection: Connection, job: Job, log: Sequence[NewEvent]) -> None:
    """Append to the log of a job whose row this transaction holds."""
    events.append(connection, job.id, job.attempt, log)
    for event in log:
        if event.type is EventType.STATUS:
            status = JobStatus(event.data["status"])
            tell(connection, job.project_id, WebhookEvent(f"job.{status}"), about_job(job))
            if job.sweep_id is not None:
                sweep_members.follow(connection, job, status)
