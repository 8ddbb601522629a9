"""Celery tasks: each hands its message to the runner or the helper of this process.

A message says that something waits, not what: the database decides which job starts.
"""

from celery import Task, shared_task
from opentelemetry.trace import SpanKind

from app.queue import HELP, TASK
from app.telemetry.traces import context_of, tracer


@shared_task(name=TASK, bind=True)  # type: ignore[untyped-decorator]  # celery has no types
def prune(task: Task, job_id: str) -> None:
    """Run the job that should start next.

    A process that may be damaged exits after it, and the parent starts a fresh one.
    """
    from workers.runtime import child  # noqa: PLC0415 - torch belongs into the child only

    with tracer.start_as_current_span(
        "receive message",
        context=context_of(task.request.headers or {}),
        kind=SpanKind.CONSUMER,
        attributes={"secateur.job_id": job_id, "secateur.task_id": task.request.id},
    ):
        sound = child.runner().run(job_id)
    if not sound:
        raise SystemExit(0)


@shared_task(name=HELP)  # type: ignore[untyped-decorator]  # celery has no types
def help_with(job_id: str) -> None:
    """Measure parts of the job, as long as there are any."""
    from workers.runtime import child  # noqa: PLC0415 - torch belongs into the child only

    if not child.helper().run(job_id):
        raise SystemExit(0)
