"""What came of a job, as its worker reported it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.recipes.evaluation import EvaluationReport
from app.recipes.performance import NotMeasured, PerformanceReport
from app.recipes.pruning_report import PruningReport
from app.recipes.quantization import QuantizationReport
from app.recipes.routing_report import RoutingFigures
from app.recipes.runtime_support import RuntimeSupport
from app.recipes.search import SearchReport
from app.recipes.structure_report import StructureReport
from app.recipes.tasks import TaskFailure, TaskReport
from app.strict import Strict


class Sizes(Strict):
    """What a checkpoint weighs.

    Attributes:
        dense: bytes of the safetensors files.
        packed: bytes that a packed download sends in their place.
        elements: of all tensors; types of less than a byte are counted in bytes.
        nonzeros: elements with a bit that is set.
    """

    dense: int = 0
    packed: int = 0
    elements: int = 0
    nonzeros: int = 0


class EarlierFigures(BaseModel):
    """Figures in the form of an earlier version, kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)


class JobResult(BaseModel):
    """The figures of a job; those that its worker did not report are None, unknown ones are kept.

    Attributes:
        sparsity: share of zeros among the weights of the matrices that were pruned.
        reached: share of all weights of the model that these are, embeddings and heads included.
        reached_blocks: share of the weights in blocks that these are.
        model_sparsity: share of all weights of the model that became zero there.
        weights: how many these are.
        zeros: how many of them are zero.
        target: weights that were to be zero.
        difference: zeros - target.
        modalities: sparsity of each modality.
        warnings: what whoever takes the model should know.
        routing: of a job that trained a router.
        evaluation: None where none was asked for.
        search: of a job that looked for the sparsest model within a gate: what it saw.
        structure: of a job that made the model smaller: its parts before and after.
        quantization: of a job that stored weights in 8 bits: which, and what it took.
        runtime_support: for each way to run the model, whether it loads, is smaller and is faster.
        performance: of a job that had its result measured: what it takes beside the dense model,
            or why that is not known.
        tasks: of a job that named tasks of harnesses: what each came to, or why it has no figures.
        sizes: of the files; None where a quality gate kept them from being made.
        seconds: from the start of the last attempt to its end.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    sparsity: float | None = None
    reached: float | None = None
    reached_blocks: float | None = None
    model_sparsity: float | None = None
    weights: int | None = None
    zeros: int | None = None
    target: int | None = None
    difference: int | None = None
    modalities: dict[str, float] | None = None
    warnings: tuple[str, ...] = ()
    routing: RoutingFigures | EarlierFigures | None = Field(
        default=None, union_mode="left_to_right"
    )
    evaluation: EvaluationReport | None = None
    search: SearchReport | EarlierFigures | None = Field(default=None, union_mode="left_to_right")
    structure: StructureReport | EarlierFigures | None = Field(
        default=None, union_mode="left_to_right"
    )
    quantization: QuantizationReport | EarlierFigures | None = Field(
        default=None, union_mode="left_to_right"
    )
    runtime_support: tuple[RuntimeSupport, ...] | None = None
    performance: PerformanceReport | NotMeasured | EarlierFigures | None = Field(
        default=None, union_mode="left_to_right"
    )
    tasks: tuple[TaskReport | TaskFailure, ...] | None = None
    sizes: Sizes | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, pruned: PruningReport) -> "JobResult":
        """The figures of a report; sizes and time come later."""
        coverage = pruned.coverage
        found = cls(
            sparsity=pruned.model.sparsity,
            reached=coverage and coverage.share,
            reached_blocks=coverage and coverage.block_share,
            model_sparsity=pruned.model_sparsity,
            weights=pruned.model.weights,
            zeros=pruned.model.zeros,
            target=pruned.target,
            difference=pruned.difference,
            modalities={name: tally.sparsity for name, tally in pruned.modalities.items()},
            warnings=pruned.warnings,
        )
        told = {name: getattr(pruned, name) for name in _PARTS}
        if pruned.quantization is not None:  # tensor by tensor it is in the report
            told["quantization"] = pruned.quantization.model_copy(update={"rounded": {}})
        given = {name: each for name, each in told.items() if each is not None}
        return found.model_copy(update=given)

    def to_json(self) -> dict[str, Any]:
        """What is stored and shown: the figures that were reported, and no others."""
        return self.model_dump(mode="json", include=set(self.model_fields_set))


_PARTS = (
    *("evaluation", "structure", "search", "quantization", "runtime_support"),
    *("performance", "tasks"),
)  # of a report that a result has as they are
