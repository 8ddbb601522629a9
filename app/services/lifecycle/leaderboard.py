"""A sweep's leaderboard: what its members came to, side by side."""

from collections.abc import Sequence

from sqlalchemy import Connection

from app.db import jobs
from app.domain.jobs import Job
from app.domain.sweeps import MemberResult, Objective, Sweep, SweepRequest, ranked
from app.recipes.evaluation import Measured, MetricName


def member_result(job: Job, metric: MetricName | None) -> MemberResult:
    """One member by its result, as far as there is one."""
    result = job.result or {}
    measured = _measured(job, metric)
    return MemberResult(
        job_id=job.id,
        status=job.status,
        method=job.spec["method"],
        recipe=job.spec["recipe"],
        sparsity=result.get("sparsity"),
        value=None if measured is None else measured.after.value,
        drop=None if measured is None or metric is None else _drop(metric, measured),
        bytes=result.get("sizes", {}).get("packed"),
        seconds=result.get("seconds"),
        error_code=job.error.code if job.error else None,
    )


def rank_members(
    connection: Connection, sweep: Sweep, metric: MetricName | None
) -> tuple[MetricName | None, Sequence[MemberResult]]:
    """The metric and the members, the best first by it, by the objective, or else as made."""
    objective = SweepRequest.model_validate(sweep.request).objective
    if metric is not None:
        objective = Objective(metric=metric)
    name = objective.metric if objective else None
    found = [member_result(job, name) for job in jobs.members(connection, sweep.id)]
    return name, ranked(found, objective) if objective else found


def _measured(job: Job, metric: MetricName | None) -> Measured | None:
    found = (job.result or {}).get("evaluation", {}).get("metrics", {}).get(metric)
    return Measured.model_validate(found) if found else None


def _drop(metric: MetricName, measured: Measured) -> float:
    change = measured.change.value
    return change if metric.lower_is_better else -change
