"""The message of a job that wants help with its measurement."""

from celery import shared_task

from app.queue import HELP


@shared_task(name=HELP)  # type: ignore[untyped-decorator]  # celery has no types
def help_with(job_id: str) -> None:
    """Measure parts of the job, as long as there are any."""
    from workers.runtime import child  # noqa: PLC0415 - torch belongs into the child only

    if not child.helper().run(job_id):
        raise SystemExit(0)
