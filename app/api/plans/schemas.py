"""Plans on the wire."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, Field

from app.domain.jobs import Phase
from app.domain.submission import JobSpec
from app.recipes.coverage import LeftDense
from app.recipes.modality import Modality
from app.recipes.quantization import QuantizationReport
from app.recipes.structure_report import StructureReport
from app.services.jobs.plans import Plan


class PlannedMatrixOut(BaseModel):
    """One matrix the job would prune."""

    file_key: str
    name: str = Field(description="of the module, as far as the files tell")
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
    matrices: list[PlannedMatrixOut] = Field(
        description="by the names and shapes in the files' headers; the worker decides by the "
        "model's classes"
    )
    routing: PlannedRoutingOut | None = Field(description="null where the method prunes weights")
    structure: StructureReport | None = Field(
        description="what is taken out before, by names and shapes; everything else here is of the "
        "model that is left; null where nothing is taken out"
    )
    quantization: QuantizationReport | None = Field(
        description="what is stored in 8 bits, by names and shapes: bytes of the matrices with "
        "their scales, and before; null where nothing is"
    )
    weights: dict[Modality, int] = Field(description="weights in these matrices")
    zeros: int
    evaluations: int = Field(
        description="how often the model is measured: dense and pruned, or dense and at each of "
        "the most that a search tries; 0 without an evaluation"
    )
    model_weights: int = Field(description="all numbers in the checkpoint that is left")
    reached: float | None = Field(
        description="share of all weights that the recipe reaches, embeddings and heads included"
    )
    reached_blocks: float | None = Field(description="share of the weights in blocks")
    model_sparsity: float | None = Field(description="share of all weights that would be zero")
    dense: list[LeftDense] = Field(
        description="tensors left dense, with the reason; small ones are not listed"
    )
    worker_class: str = Field(description="the workers it would go to")
    memory_bytes: int | None = Field(
        description="peak memory on the device it computes on, estimated from shapes"
    )
    memory: MemoryOut | None = Field(description="what that is made of")
    phases: dict[Phase, float] | None = Field(
        description="seconds of each phase, estimated from shapes and the rates these workers have "
        "measured; null before the first of them has started"
    )
    packed_bytes: int = Field(
        description="the packed download of the weights in the type they are stored in: a bit per "
        "weight of a pruned matrix and the weights left, before compression"
    )
    seconds: float | None = Field(
        description="median of your earlier jobs of this model and method; null without any"
    )
    warnings: list[str]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The wire form of a plan."""
        coverage = plan.coverage
        return cls(
            spec=plan.spec,
            matrices=[
                PlannedMatrixOut.model_validate(matrix, from_attributes=True)
                for matrix in plan.matrices
            ],
            routing=None
            if plan.routing is None
            else PlannedRoutingOut.model_validate(asdict(plan.routing)),
            structure=plan.structure,
            quantization=plan.quantization,
            weights=plan.weights,
            zeros=plan.zeros,
            evaluations=plan.evaluations,
            model_weights=plan.model_weights,
            reached=coverage and coverage.share,
            reached_blocks=coverage and coverage.block_share,
            model_sparsity=coverage and plan.zeros / coverage.weights,
            dense=list(coverage.dense) if coverage else [],
            worker_class=plan.placement.worker_class,
            memory_bytes=plan.placement.memory_bytes,
            memory=None
            if plan.placement.memory is None
            else MemoryOut.model_validate(asdict(plan.placement.memory)),
            phases=plan.placement.seconds,
            packed_bytes=plan.packed_bytes,
            seconds=plan.seconds,
            warnings=plan.warnings,
        )
