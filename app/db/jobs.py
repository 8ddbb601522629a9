"""Job rows: store, find, list, change and delete them.

What an attempt changes of its job is in `leases`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    Text,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy import column as named
from sqlalchemy.dialects.postgresql import JSONB

from app.db.events import remove_logs
from app.db.tables import NEVER, artifacts, audit, events, jobs, labels, outbox, webhooks
from app.domain.jobs import (
    FailureKind,
    Job,
    JobError,
    JobFilter,
    JobStatus,
    NewJob,
    Phase,
    status_event,
)
from app.domain.webhooks import WebhookEvent
from app.ids import id_at, new_id

# Ids carry the time by the clock of an API process, `created_at` that by the database's; they are
# taken to differ by less.
CLOCKS = timedelta(minutes=10)


def to_job(row: RowMapping) -> Job:
    """A job from its row."""
    error = None
    if row["error_code"] is not None:
        error = JobError(FailureKind(row["error_kind"]), row["error_code"], row["error_message"])
    plain = {name: row[column] for name, column in _COLUMNS.items()}
    return Job(
        status=JobStatus(row["status"]),
        phase=Phase(row["phase"]) if row["phase"] else None,
        error=error,
        model=row["model"] or "",
        method=row["method"] or "",
        **plain,
    )


_READ = {"status", "phase", "error", "model", "method"}
_COLUMNS = {
    field.name: field.name.removeprefix("stored_")
    for field in fields(Job)
    if field.name not in _READ
}
"""The column of each field that is stored as it is."""


_FIND = select(jobs).where(
    jobs.c.id == bindparam("job_id"), jobs.c.project_id == bindparam("project_id")
)
_LOCK = _FIND.with_for_update()


def get(connection: Connection, project_id: str, job_id: str, *, lock: bool = False) -> Job | None:
    """The project's job of that id, if there is one; locked until the transaction ends if asked."""
    told = {"project_id": project_id, "job_id": job_id}
    row = connection.execute(_LOCK if lock else _FIND, told).mappings().one_or_none()
    return to_job(row) if row else None


def find(connection: Connection, job_id: str) -> Job | None:
    """The job of that id, whosever it is; for the service's own processes."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    return to_job(row) if row else None


def page(
    connection: Connection, project_id: str, *, limit: int, cursor: str | None, only: JobFilter
) -> list[Job]:
    """Up to `limit` jobs by creation, newest first unless asked otherwise, after `cursor`."""
    column = jobs.c
    query = select(jobs).where(column.project_id == project_id).limit(limit)
    query = query.order_by(column.id if only.oldest_first else column.id.desc())
    if cursor is not None:
        query = query.where(column.id > cursor if only.oldest_first else column.id < cursor)
    if only.status is not None:
        query = query.where(column.status == only.status)
    if only.method is not None:
        query = query.where(column.method == only.method)
    if only.model is not None:
        query = query.where(column.model == only.model)
    for label in only.labels.items():
        query = _with_label(query, project_id, *label)
    if only.sweep is not None:
        query = query.where(column.sweep_id == only.sweep)
    if only.created_after is not None:
        query = query.where(column.created_at >= only.created_after)
        query = query.where(column.id >= id_at("job", only.created_after, -CLOCKS))
    if only.created_before is not None:
        query = query.where(column.created_at < only.created_before)
        query = query.where(column.id < id_at("job", only.created_before, CLOCKS))
    return [to_job(row) for row in connection.execute(query).mappings()]


def median_seconds(
    connection: Connection, project_id: str, model: str, method: str
) -> float | None:
    """Median run time of the project's last hundred successes with this model and method."""
    seconds = jobs.c.result["seconds"].as_float()
    last = (
        select(seconds.label("seconds"))
        .where(
            jobs.c.project_id == project_id,
            jobs.c.status == JobStatus.SUCCEEDED,
            jobs.c.model == model,
            jobs.c.method == method,
        )
        .order_by(jobs.c.id.desc())
        .limit(100)
        .subquery()
    )
    query = select(func.percentile_cont(0.5).within_group(last.c.seconds))
    found = connection.execute(query).scalar_one()
    return None if found is None else float(found)


def change(connection: Connection, job_id: str, **values: Any) -> Job:
    """Set what clients may set: labels, metadata, priority."""
    query = update(jobs).where(jobs.c.id == job_id).values(**values, **NEXT_VERSION)
    job = to_job(connection.execute(query.returning(jobs)).mappings().one())
    if "labels" in values:
        _replace_labels(connection, job)
    return job


def remove(connection: Connection, job_ids: Sequence[str]) -> None:
    """Remove jobs with their events and artifact rows."""
    remove_logs(connection, job_ids)
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))


def of_sweeps(connection: Connection, sweep_ids: Sequence[str]) -> dict[str, Counter[JobStatus]]:
    """How many members of each sweep have which status."""
    query = (
        select(jobs.c.sweep_id, jobs.c.status, func.count())
        .where(jobs.c.sweep_id.in_(sweep_ids))
        .group_by(jobs.c.sweep_id, jobs.c.status)
    )
    found = {sweep_id: Counter[JobStatus]() for sweep_id in sweep_ids}
    for sweep_id, status, count in connection.execute(query):
        found[sweep_id][JobStatus(status)] = count
    return found


def members(connection: Connection, sweep_id: str, *, lock: bool = False) -> list[Job]:
    """The jobs of a sweep, in the order of their making; locked if asked."""
    query = select(jobs).where(jobs.c.sweep_id == sweep_id).order_by(jobs.c.id)
    query = query.with_for_update() if lock else query
    return [to_job(row) for row in connection.execute(query).mappings()]


def files_expired(connection: Connection, job_id: str) -> None:
    """Note that the job's files were removed for their age."""
    query = update(jobs).where(jobs.c.id == job_id)
    connection.execute(query.values(files_expired_at=func.now(), **NEXT_VERSION))


NEXT_VERSION: dict[str, Any] = {"version": jobs.c.version + 1}


def cancel(connection: Connection, job_id: str) -> Job | None:
    """Ask for a stop: a queued job ends at once, a running one becomes `cancelling`.

    Returns:
        The job after the change, or None where no live job has that id.
    """
    queued = jobs.c.status == JobStatus.QUEUED
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))
        .values(
            status=case((queued, JobStatus.CANCELLED), else_=JobStatus.CANCELLING),
            finished_at=case((queued, func.now()), else_=jobs.c.finished_at),
            deadline=null(),
            **NEXT_VERSION,
        )
        .returning(jobs)
    )
    row = connection.execute(query).mappings().one_or_none()
    return to_job(row) if row else None


def queued_for(connection: Connection, worker_class: str) -> Sequence[Job]:
    """Queued jobs that wait for the class, locked for this transaction, the oldest first."""
    query = (
        select(jobs)
        .where(jobs.c.finished_at.is_(None))  # which has an index
        .where(jobs.c.status == JobStatus.QUEUED, jobs.c.worker_class == worker_class)
        .order_by(jobs.c.id)
        .with_for_update()
    )
    return [to_job(row) for row in connection.execute(query).mappings()]


def move(
    connection: Connection, job_id: str, *, worker_class: str, memory_bytes: int | None
) -> None:
    """Have a queued job wait for another class."""
    query = update(jobs).where(jobs.c.id == job_id)
    values = {"worker_class": worker_class, "memory_bytes": memory_bytes}
    connection.execute(query.values(**values, **NEXT_VERSION))


def owners(connection: Connection, job_ids: Sequence[str]) -> set[tuple[str, int]]:
    """The (job id, attempt) pairs that may have files: attempts at work, and those with artifacts.

    A failed attempt has artifacts where its quality gate refused what the client asked to keep.
    """
    at_work = jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING])
    published = exists().where(artifacts.c.job_id == jobs.c.id)
    query = select(jobs.c.id, jobs.c.attempt).where(jobs.c.id.in_(job_ids), or_(at_work, published))
    return {(row.id, row.attempt) for row in connection.execute(query)}


def unfinished(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Those of the jobs that exist and have not ended."""
    open_ones = [status for status in JobStatus if not status.terminal]
    query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.status.in_(open_ones))
    return set(connection.execute(query).scalars())


# A new job is one statement: its message, the first entry of its log and the note in the audit log
# stand or fall with its row, and one round trip instead of six is what a submit's time is made of.
_EVENT = status_event(JobStatus.QUEUED)

# Columns and the fields of `NewJob` that they are stored from.
_OF_REQUEST = {
    "priority": "priority",
    "labels": "labels",
    "metadata": "metadata",
    "max_runtime": "max_runtime_seconds",
    "max_pending": "max_pending_seconds",
}
_GIVEN = [field.name for field in fields(NewJob)]

# All of them as one JSON: a value each would cost the client more than the rest of the statement.
_STORED = ("id", *_OF_REQUEST, *_GIVEN)
_given = (
    func.jsonb_to_record(bindparam("job", type_=JSONB))
    .table_valued(*(named(name, jobs.c[name].type) for name in _STORED))
    .render_derived(name="given", with_types=True)
)
_pending = _given.c.max_pending * literal_column("interval '1 second'")
_job = (
    insert(jobs)
    .from_select([*_STORED, "deadline"], select(*_given.c, func.now() + _pending))
    .returning(
        *(jobs.c.id, jobs.c.project_id, jobs.c.priority, jobs.c.worker_class, jobs.c.leader_id),
        jobs.c.created_at,
    )
    .cte("job")
)
_message = (
    insert(outbox)
    .from_select(
        ["job_id", "project_id", "priority", "worker_class", "due_at"],
        select(
            *(_job.c.id, _job.c.project_id, _job.c.priority, _job.c.worker_class),
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
            *(literal_column("0"), literal_column(f"'{_EVENT.level}'")),
            *(literal_column(f"'{_EVENT.type}'"), literal_column(f"'{_EVENT.message}'")),
            literal_column(f"'{json.dumps(_EVENT.data)}'::jsonb"),
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
        webhooks.c.events.contains(literal_column(f"'{{{WebhookEvent.QUEUED}}}'::text[]")),
    )
    .scalar_subquery()
)
_ADD = select(_job.c.created_at, _interested.label("interested")).add_cte(_message, _entry, _note)


def queue(
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
    values: dict[str, Any] = {name: getattr(new, name) for name in _GIVEN}
    values |= {column: getattr(new.request, name) for column, name in _OF_REQUEST.items()}
    values["spec"] = to_stored(new.spec)
    values["request"] = new.request.model_dump(mode="json", exclude_unset=True)
    values["id"] = new_id("job")
    row = connection.execute(_ADD, {"job": values, "key_id": key_id, "action": action}).one()
    stored = {name: values[column] for name, column in _COLUMNS.items() if column in values}
    job = Job(
        created_at=row.created_at,
        model=new.spec.model,
        method=new.spec.method,
        **stored,
    )
    _add_labels(connection, job)
    return job, row.interested or ()


def to_stored(model: BaseModel) -> dict[str, Any]:
    """A specification as JSON, without the fields that ask for nothing.

    A worker of the version before refuses fields that it does not know. So one is left out where
    its default is None, False or empty, and it has that; what this means never changes. Defaults
    that say how something is done, as a seed, are stored: the next version may have others.
    """
    return _asked(model, model.model_dump(mode="json"))  # type: ignore[no-any-return]


def _asked(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel):
        known = type(value).model_fields
        return {
            name: _asked(getattr(value, name), each) if isinstance(each, (dict, list)) else each
            for name, each in dumped.items()
            if each
            or not _nothing(each)
            or name not in known
            or getattr(value, name) != known[name].default
        }
    if isinstance(value, dict):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {name: _asked(part, each) for part, (name, each) in pairs}
    if isinstance(value, list | tuple):
        return [_asked(*pair) for pair in zip(value, dumped, strict=True)]
    return dumped


def _nothing(dumped: Any) -> bool:
    return dumped is None or dumped is False or dumped in ([], {})  # 0 is something


_ADD_LABELS = insert(labels)


def _add_labels(connection: Connection, job: Job) -> None:
    """Store the labels of a job that has none here."""
    if job.labels:
        kept = {"project_id": job.project_id, "job_id": job.id}
        rows = [kept | {"key": key, "value": value} for key, value in job.labels.items()]
        connection.execute(_ADD_LABELS, rows)


def _replace_labels(connection: Connection, job: Job) -> None:
    """Store the labels of a job that has others here."""
    connection.execute(delete(labels).where(labels.c.job_id == job.id))
    _add_labels(connection, job)


def _with_label(query: Select[Any], project_id: str, key: str, value: str) -> Select[Any]:
    """Of a query over jobs, those with the label."""
    label = labels.alias()
    wanted = (label.c.project_id == project_id, label.c.key == key, label.c.value == value)
    return query.join(label, label.c.job_id == jobs.c.id).where(*wanted)
