"""Scores that an earlier job has measured, for a job that allocates by them."""

from sqlalchemy import Connection

from app.db import artifacts, jobs
from app.errors import AllocationScoreError
from app.recipes.allocation_scores import AllocationScores
from app.recipes.pruning_report import REPORT_FILE, PruningReport
from app.storage.store import ArtifactStore


def find_scores(
    connection: Connection, project_id: str, store: ArtifactStore, *, job_id: str, model: str
) -> AllocationScores:
    """The scores that a job of the project has measured on the model.

    Raises:
        AllocationScoreError: the project has no such job, or it has not succeeded, pruned another
            model or measured no scores.
    """
    job = jobs.get(connection, project_id, job_id)
    if job is None:
        raise AllocationScoreError(f"scores_from: there is no job {job_id!r}")
    if job.model != model:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} pruned {job.model!r}, not {model!r}"
        )
    artifact = artifacts.get(connection, job_id, REPORT_FILE)
    if artifact is None:
        raise AllocationScoreError(f"scores_from: job {job_id!r} is {job.status}; it has no report")
    report = PruningReport.model_validate_json(b"".join(store.read(artifact)))
    if report.allocation is None:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} measured no scores; its method was {job.method}"
        )
    return report.allocation.scores
