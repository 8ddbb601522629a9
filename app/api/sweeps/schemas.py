"""Sweeps and leaderboards on the wire."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field, SerializeAsAny

from app.domain.jobs import JobStatus, JobUnreadableError
from app.domain.submission import AnyRecipe
from app.domain.sweeps import MemberResult, Sweep, SweepRequest, SweepStatus, SweepUnreadableError
from app.recipes.evaluation import MetricName


class SweepOut(BaseModel):
    """One sweep. Its jobs: `GET /v1/jobs?sweep={id}`, or its leaderboard."""

    id: str
    status: SweepStatus = Field(
        description="succeeded: all jobs have ended, and one at least has succeeded"
    )
    request: SerializeAsAny[SweepRequest] = Field(description="as it was sent")
    jobs: dict[JobStatus, int] = Field(
        description="how many have which status", examples=[{"succeeded": 5, "running": 1}]
    )
    progress: float = Field(description="share of the jobs that have ended")
    best_job_id: str | None = Field(
        description="the job that meets the objective best so far; null without an objective"
    )
    labels: dict[str, str]
    metadata: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, sweep: Sweep, counts: Counter[JobStatus]) -> "SweepOut":
        """The wire form of a sweep; a request that this version cannot read as it is stored."""
        request: Any
        try:
            request = sweep.request
        except SweepUnreadableError:
            request = sweep.stored_request
        ended = sum(count for status, count in counts.items() if status.terminal)
        return cls.model_construct(
            id=sweep.id,
            status=sweep.status,
            request=request,
            jobs=dict(counts),
            progress=ended / max(counts.total(), 1),
            best_job_id=sweep.best_id,
            labels=sweep.labels,
            metadata=sweep.metadata,
            created_at=sweep.created_at,
            finished_at=sweep.finished_at,
        )


class SweepPage(BaseModel):
    """Sweeps, newest first."""

    sweeps: list[SweepOut]
    next_cursor: str | None


class StandingOut(BaseModel):
    """One job of a sweep, in figures; null where there is none (yet)."""

    job_id: str
    status: JobStatus
    method: str
    recipe: SerializeAsAny[AnyRecipe]
    sparsity: float | None = Field(description="share of zeros in the exported files")
    value: float | None = Field(description="the metric after pruning")
    drop: float | None = Field(description="how much worse the metric got")
    bytes: int | None = Field(description="of the packed download")
    seconds: float | None
    time_ratio: float | None = Field(
        description="time of a token, or of a forward where none is written, over the dense "
        "model's; null where the job did not ask to `measure`"
    )
    weights_ratio: float | None = Field(
        description="bytes of the weights in use over the dense model's; null likewise"
    )
    error_code: str | None

    @classmethod
    def of(cls, member: MemberResult) -> "StandingOut":
        """The wire form of a member; a recipe that this version cannot read as it is stored."""
        job, result = member.job, member.result
        recipe: Any
        try:
            recipe = job.spec.recipe
        except JobUnreadableError:
            recipe = job.stored_spec.get("recipe")
        measured = member.performance
        return cls.model_construct(
            job_id=job.id,
            status=job.status,
            method=job.method,
            recipe=recipe,
            sparsity=member.sparsity,
            value=member.value,
            drop=member.drop,
            bytes=result.sizes.packed if result and result.sizes else None,
            seconds=result.seconds if result else None,
            time_ratio=measured.time.ratio.value if measured else None,
            weights_ratio=measured.bytes.ratio if measured else None,
            error_code=job.error.code if job.error else None,
        )


class Leaderboard(BaseModel):
    """The jobs of a sweep, the best first; without a metric, in the order of their making."""

    metric: MetricName | None
    standings: list[StandingOut]

    @classmethod
    def of(cls, leaderboard: tuple[MetricName | None, Sequence[MemberResult]]) -> Self:
        """The wire form of a leaderboard."""
        metric, members = leaderboard
        return cls(metric=metric, standings=[StandingOut.of(each) for each in members])
