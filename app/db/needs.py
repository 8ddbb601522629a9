"""Who needs a job's files."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, exists, func, select

from app.db.tables import artifacts, jobs, model_versions, publications
from app.domain.jobs import JobStatus
from app.domain.publications import PublicationState

# How another job names this one as its model.
SOURCE = "hf:jobs/"


def needed(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Which of the jobs must keep their files, and what for."""
    found: dict[str, str] = {}
    for job_id, source in _sources(connection):
        if source in job_ids:
            found[source] = f"{job_id} starts from it"
    pending = select(publications.c.job_id, publications.c.destination).where(
        publications.c.job_id.in_(job_ids), publications.c.state == PublicationState.PENDING
    )
    for row in connection.execute(pending):
        found[row.job_id] = f"it is on its way to {row.destination}"
    versions = select(model_versions).where(model_versions.c.job_id.in_(job_ids))
    for row in connection.execute(versions):
        found[row.job_id] = f"it is version {row.version} of the model {row.name}"
    return found


def _sources(connection: Connection) -> list[tuple[str, str]]:
    model = jobs.c.spec["model"].astext
    live = jobs.c.status.in_([status for status in JobStatus if not status.terminal])
    query = select(jobs.c.id, model.label("model")).where(live, model.startswith(SOURCE))
    return [
        (row.id, row.model.removeprefix(SOURCE).partition("@")[0])
        for row in connection.execute(query)
    ]


def outlived(connection: Connection, age: timedelta, *, limit: int) -> Sequence[tuple[str, str]]:
    """The (job id, project id) of jobs with files that ended longer ago and that nobody needs.

    Their rows are locked until the transaction ends; those that others hold are passed over.
    """
    versions = exists().where(model_versions.c.job_id == jobs.c.id)
    pending = exists().where(
        publications.c.job_id == jobs.c.id, publications.c.state == PublicationState.PENDING
    )
    sources = [source for _, source in _sources(connection)]
    published = exists().where(artifacts.c.job_id == jobs.c.id)
    query = (
        select(jobs.c.id, jobs.c.project_id)
        .where(jobs.c.finished_at < func.now() - age, published, ~versions, ~pending)
        .where(jobs.c.id.not_in(sources))
        .order_by(jobs.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(row.id, row.project_id) for row in connection.execute(query)]
