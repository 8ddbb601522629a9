"""A sweep's leaderboard: what its members came to, side by side."""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from app.db import jobs
from app.domain.job_result import JobResult
from app.domain.jobs import Job, JobUnreadableError
from app.domain.sweeps import MemberResult, Objective, Sweep, ranked
from app.recipes.evaluation import Measured, MetricName

logger = logging.getLogger("secateur.leaderboard")


def member_result(job: Job, metric: MetricName | None) -> MemberResult:
    """One member by its result, as far as there is one that this version can read."""
    try:
        result = job.result
    except JobUnreadableError as error:  # the other members have their places all the same
        logger.warning("%s has no figures on the leaderboard: %s", job.id, error)
        result = None
    measured = _measured(result, metric)
    return MemberResult(
        job=job,
        result=result,
        value=None if measured is None else measured.after.value,
        drop=None if measured is None or metric is None else _drop(metric, measured),
    )


def rank_members(
    connection: Connection, sweep: Sweep, metric: MetricName | None
) -> tuple[MetricName | None, Sequence[MemberResult]]:
    """The metric and the members, the best first by it, by the objective, or else as made."""
    objective = sweep.request.objective
    if metric is not None:
        objective = Objective(metric=metric)
    name = objective.metric if objective else None
    found = [member_result(job, name) for job in jobs.members(connection, sweep.id)]
    return name, ranked(found, objective) if objective else found


def _measured(result: JobResult | None, metric: MetricName | None) -> Measured | None:
    if result is None or result.evaluation is None or metric is None:
        return None
    return result.evaluation.metrics.get(metric)


def _drop(metric: MetricName, measured: Measured) -> float:
    change = measured.change.value
    return change if metric.lower_is_better else -change
