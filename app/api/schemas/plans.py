"""Plans on the wire."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, Field

from app.domain.jobs import Phase
from app.domain.recipe import Modality
from app.domain.submission import JobSpec
from app.services.plans import Plan

BITS = 16  # of a bfloat16 weight


class PlannedMatrixOut(BaseModel):
    """One matrix the job would prune."""

    file_key: str
    modality: Modality
    shape: tuple[int, int]
    sparsity: float | None = Field(description="null where weights compete across matrices")


class PlannedRoutingOut(BaseModel):
    """What a router may decide; null where config.json does not tell."""

    layers: int | None
    protected: tuple[int, ...] | None = Field(description="layers that always run")
    may_skip: tuple[int, ...] | None
    run: int | None = Field(description="layers that run; null where a ratio of operations decides")


class MemoryOut(BaseModel):
    """Bytes, by what takes them. Stages do not coincide: the largest counts."""

    libraries: int
    weights: int
    stages: dict[str, int]


class PlanOut(BaseModel):
    """What a job would do; nothing was queued."""

    spec: JobSpec
    matrices: list[PlannedMatrixOut] | None = Field(
        description="by the names and shapes in the files' headers; the worker decides by the "
        "model's classes. null where a file has no header that can be read"
    )
    routing: PlannedRoutingOut | None = Field(description="null where the method prunes weights")
    weights: dict[Modality, int] = Field(description="weights in these matrices")
    zeros: int
    model_weights: int | None = Field(description="all numbers in the checkpoint")
    worker_class: str = Field(description="the workers it would go to")
    memory_bytes: int | None = Field(
        description="peak memory on the device it computes on, estimated from shapes"
    )
    memory: MemoryOut | None = Field(description="what that is made of")
    phases: dict[Phase, float] | None = Field(
        description="seconds of each phase, estimated from shapes and the rates these workers have "
        "measured; null before the first of them has started"
    )
    packed_bytes: int | None = Field(
        description="the packed download in bfloat16: a bit per pruned matrix's weight and the "
        "weights left, before compression"
    )
    seconds: float | None = Field(
        description="median of your earlier jobs of this model and method; null without any"
    )
    warnings: list[str]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The wire form of a plan."""
        total, pruned = plan.model_weights, sum(plan.weights.values())
        matrices = plan.matrices
        return cls(
            spec=plan.spec,
            matrices=None
            if matrices is None
            else [PlannedMatrixOut.model_validate(asdict(matrix)) for matrix in matrices],
            routing=None
            if plan.routing is None
            else PlannedRoutingOut.model_validate(asdict(plan.routing)),
            weights=plan.weights,
            zeros=plan.zeros,
            model_weights=total,
            worker_class=plan.placement.worker_class,
            memory_bytes=plan.placement.memory_bytes,
            memory=None
            if plan.placement.memory is None
            else MemoryOut.model_validate(asdict(plan.placement.memory)),
            phases=plan.placement.seconds,
            packed_bytes=None if total is None else (pruned + BITS * (total - plan.zeros)) // 8,
            seconds=plan.seconds,
            warnings=plan.warnings,
        )
