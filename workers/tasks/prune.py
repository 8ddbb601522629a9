"""The one message there is: some job waits."""

from celery import shared_task

from app.queue import TASK


@shared_task(name=TASK)  # type: ignore[untyped-decorator]  # celery has no types
def prune(job_id: str) -> None:
    """Run the job that should start next.

    A failed or cancelled run may leave memory, threads or torch's state behind, so the process
    exits after it and the parent starts a fresh one.
    """
    from workers import child  # noqa: PLC0415 - torch belongs into the child only

    if not child.runner().run(job_id):
        raise SystemExit(0)
