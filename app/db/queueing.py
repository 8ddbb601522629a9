"""A new job with all that goes along with it, in one statement.

Its message, the first entry of its log and the note in the audit log stand or fall with its row
anyway; one round trip instead of six is what a submit's time is made of.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db import labels
from app.db.outbox import NEVER
from app.db.tables import audit, events, jobs, outbox, webhooks
from app.domain.jobs import Job, JobStatus, NewJob, status_event
from app.domain.webhooks import WebhookEvent
from app.ids import new_id

_EVENT = status_event(JobStatus.QUEUED)

_job = (
    insert(jobs)
    .values({field.name: bindparam(field.name) for field in fields(NewJob)})
    .values(
        id=bindparam("id"),
        deadline=func.now()
        + func.make_interval(0, 0, 0, 0, 0, 0, bindparam("pending_seconds", type_=Float)),
    )
    .returning(jobs.c.id, jobs.c.project_id, jobs.c.priority, jobs.c.leader_id, jobs.c.created_at)
    .cte("job")
)
_message = (
    insert(outbox)
    .from_select(
        ["job_id", "project_id", "priority", "due_at"],
        select(
            _job.c.id,
            _job.c.project_id,
            _job.c.priority,
            case((_job.c.leader_id.is_(None), func.now()), else_=NEVER),
        ),
    )
    .cte("message")
)
_entry = (
    insert(events)
    .from_select(
        ["subject_id", "attempt", "level", "type", "message", "data"],
        select(
            _job.c.id,
            literal(0),
            literal(_EVENT.level.value),
            literal(_EVENT.type.value),
            literal(_EVENT.message),
            literal(_EVENT.data, JSONB),
        ),
    )
    .cte("entry")
)
_action = bindparam("action", type_=Text)
_note = (
    insert(audit)
    .from_select(
        ["project_id", "key_id", "action", "target"],
        select(_job.c.project_id, bindparam("key_id", type_=Text), _action, _job.c.id).where(
            _action.is_not(None)
        ),
    )
    .cte("note")
)
_interested = (
    select(func.array_agg(webhooks.c.id))
    .where(
        webhooks.c.project_id == _job.c.project_id,
        webhooks.c.enabled,
        webhooks.c.events.contains([WebhookEvent.QUEUED.value]),
    )
    .scalar_subquery()
)
_ADD = select(_job.c.created_at, _interested.label("interested")).add_cte(_message, _entry, _note)


def add(
    connection: Connection, new: NewJob, *, key_id: str, action: str | None
) -> tuple[Job, Sequence[str]]:
    """Store a job; also tells which webhooks want to hear of it.

    A job with a leader waits until the outbox is told to release it.

    Args:
        connection: an open transaction; who commits it wakes the relay.
        new: the job.
        key_id: who submits it.
        action: for the audit log; None where another entry speaks for the job.
    """
    asked: dict[str, Any] = {field.name: getattr(new, field.name) for field in fields(new)}
    job_id = new_id("job")
    told = {"id": job_id, "pending_seconds": new.max_pending, "key_id": key_id, "action": action}
    row = connection.execute(_ADD, asked | told).one()
    job = Job(**asked, id=job_id, created_at=row.created_at)
    labels.add(connection, job)
    return job, row.interested or ()
