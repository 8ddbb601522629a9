"""The one message there is: some job waits."""

from celery import Task, shared_task
from opentelemetry.trace import SpanKind

from app.queue import TASK
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
