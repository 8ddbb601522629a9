"""Allocation scores of an earlier job, for one that does not measure its own."""

from sqlalchemy import Connection

from app.db import artifacts, jobs
from app.domain.allocation_scores import AllocationScores
from app.domain.errors import AllocationScoreError
from app.domain.recipe import ECoFLaP, Reused
from app.domain.report import REPORT_FILE, PruningReport
from app.domain.submission import JobSpec
from app.storage.store import ArtifactStore


def with_scores(connection: Connection, store: ArtifactStore, spec: JobSpec) -> JobSpec:
    """The specification with the scores its recipe names, so that nothing is left to look up.

    Raises:
        AllocationScoreError: the named job does not exist, has not succeeded, pruned another model
            or measured no scores.
    """
    allocation = spec.recipe.allocation
    if not isinstance(allocation, ECoFLaP) or not isinstance(allocation.scores, Reused):
        return spec
    scores = _scores(connection, store, allocation.scores.job, spec.model)
    return spec.model_copy(update={"scores": scores})


def _scores(
    connection: Connection, store: ArtifactStore, job_id: str, model: str
) -> AllocationScores:
    job = jobs.get(connection, job_id)
    if job is None:
        raise AllocationScoreError(f"scores_from: there is no job {job_id!r}")
    if job.spec["model"] != model:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} pruned {job.spec['model']!r}, not {model!r}"
        )
    artifact = artifacts.get(connection, job_id, REPORT_FILE)
    if artifact is None:
        raise AllocationScoreError(f"scores_from: job {job_id!r} is {job.status}; it has no report")
    report = PruningReport.model_validate_json(b"".join(store.read(artifact)))
    if report.allocation is None:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} measured no scores; its method was {job.spec['method']}"
        )
    return report.allocation.scores
