"""Jobs that wait for workers nobody hears of: they are told, and may be moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.db import jobs, leases, outbox, projects, workers
from app.domain.jobs import (
    EventLevel,
    EventType,
    FailureKind,
    Job,
    JobError,
    JobStatus,
    NewEvent,
    status_event,
)
from app.domain.projects import Caller
from app.errors import UserError
from app.planning.machines import WorkerClass, WorkerClassNotFoundError, gigabytes
from app.planning.model_files.files import parse_model_source
from app.services.jobs.submit import Checked, Rules, outline_of, placed
from app.services.lifecycle import job_events


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of the jobs that waited for a class.

    Attributes:
        moved: ids of those that wait for another class now.
        failed: ids of those that no other class can take.
    """

    moved: Sequence[str]
    failed: Sequence[str]


def warn(connection: Connection, job_id: str) -> bool:
    """Tell the job, once, that no worker can take it as things are. Was it told?"""
    job = outbox.note_stranded(connection, job_id)
    if job is None:
        return False
    message = _reason(job, workers.get(connection, job.worker_class))
    data = {"code": "no_worker", "worker_class": job.worker_class}
    event = NewEvent(EventType.WARNING, message, EventLevel.WARNING, data)
    job_events.write(connection, job, [event])
    return True


def _reason(job: Job, worker_class: WorkerClass | None) -> str:
    name = repr(job.worker_class)
    if worker_class is None:
        return f"the job waits for a worker of class {name}, and there is none"
    room = max(worker_class.machine.memory_bytes, worker_class.machine.device_bytes or 0)
    if job.memory_bytes is not None and job.memory_bytes > room:
        return (
            f"the job waits for a worker of class {name} with {gigabytes(job.memory_bytes)} of "
            f"memory; the last one that started has {gigabytes(room)}"
        )
    return f"the job waits: {worker_class}"


def retire(connection: Connection, caller: Caller, name: str, rules: Rules) -> Retired:
    """Forget a class that is gone, and place the jobs that wait for it anew.

    A job that asked for this class, or fits no other, fails for the reason a submit would give.
    Running ones go on. A class whose workers live is known again with their next sign of life.

    Raises:
        WorkerClassNotFoundError: there is none of that name.
    """
    if not workers.remove(connection, name):
        raise WorkerClassNotFoundError(f"there is no worker class {name!r}")
    rules.machines.forget()
    moved, failed = list[str](), list[str]()
    for job in jobs.queued_for(connection, name):
        try:
            _move(connection, job, rules)
        except UserError as error:
            _fail(connection, job, error)
            failed.append(job.id)
        else:
            moved.append(job.id)
    projects.record_change(connection, caller, "worker_class.retire", name)
    return Retired(moved, failed)


def _move(connection: Connection, job: Job, rules: Rules) -> None:
    outline = outline_of(parse_model_source(job.spec.model), rules.outlines, job.project_id)
    placement = placed(connection, job.request, Checked(job.spec, outline), rules)
    to = placement.worker_class
    jobs.move(connection, job.id, worker_class=to, memory_bytes=placement.memory_bytes)
    outbox.move(connection, job.id, to)
    text = f"waiting for a worker of class {to!r}; {job.worker_class!r} was retired"
    job_events.write(connection, job, [NewEvent(EventType.LOG, text, data={"worker_class": to})])


def _fail(connection: Connection, job: Job, error: UserError) -> None:
    known = JobError(FailureKind.USER, error.code, str(error))
    if leases.fail_overdue(connection, job.id, known):
        outbox.remove(connection, job.id)
        data = {"code": known.code, "kind": known.kind}
        text = f"failed: its worker class was retired. {error}"
        failed = status_event(JobStatus.FAILED, text, EventLevel.ERROR, **data)
        job_events.write(connection, job, [failed])
