"""Allocation scores of an earlier job, for one that does not measure its own."""

from sqlalchemy import Connection

from app.db import artifacts, jobs
from app.domain.jobs import Job
from app.domain.submission import JobSpec
from app.errors import AllocationScoreError
from app.recipes.allocation_scores import AllocationScores
from app.recipes.pruning_report import REPORT_FILE, PruningReport
from app.recipes.recipe import ECoFLaP, Recipe, Reused
from app.storage.store import ArtifactStore


def with_scores(
    connection: Connection, project_id: str, store: ArtifactStore, spec: JobSpec
) -> JobSpec:
    """The specification with the scores its recipe names, so that nothing is left to look up.

    Raises:
        AllocationScoreError: the project has no such job, or it has not succeeded, pruned another
            model or measured no scores.
    """
    if not isinstance(spec.recipe, Recipe):
        return spec
    allocation = spec.recipe.allocation
    if not isinstance(allocation, ECoFLaP) or not isinstance(allocation.scores, Reused):
        return spec
    job_id = allocation.scores.job
    job = jobs.get(connection, project_id, job_id)
    if job is None:
        raise AllocationScoreError(f"scores_from: there is no job {job_id!r}")
    if job.spec["model"] != spec.model:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} pruned {job.spec['model']!r}, not {spec.model!r}"
        )
    return spec.model_copy(update={"scores": _scores(connection, store, job)})


def _scores(connection: Connection, store: ArtifactStore, job: Job) -> AllocationScores:
    job_id = job.id
    artifact = artifacts.get(connection, job_id, REPORT_FILE)
    if artifact is None:
        raise AllocationScoreError(f"scores_from: job {job_id!r} is {job.status}; it has no report")
    report = PruningReport.model_validate_json(b"".join(store.read(artifact)))
    if report.allocation is None:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} measured no scores; its method was {job.spec['method']}"
        )
    return report.allocation.scores
