"""What a pruning run did, matrix by matrix."""

from app.recipes.allocation_scores import AllocationScores
from app.recipes.coverage import Coverage
from app.recipes.evaluation import EvaluationReport
from app.recipes.modality import Modality
from app.recipes.performance import NotMeasured, PerformanceReport
from app.recipes.quantization import QuantizationReport
from app.recipes.recipe import Recipe
from app.recipes.runtime_support import RuntimeSupport
from app.recipes.search import SearchReport
from app.recipes.structure_report import StructureReport
from app.recipes.tasks import TaskFailure, TaskReport
from app.strict import Strict

REPORT_FILE = "pruning_report.json"
"""Where a job's files have its report."""

PAGE_FILE = "report.html"
"""The same as a page for people."""

TIMELINE = "<!-- timeline -->"
"""Where the page can be told when everything happened; the file says nothing of times, so that the
same job gives the same file."""

STATISTICS_FILE = "calibration/statistics.safetensors"
"""Where a member of a sweep leaves what it measured on the dense model, for the others."""


class Tally(Strict):
    """Weights counted: all, asked to go, and zero afterwards."""

    weights: int
    asked: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero."""
        return self.zeros / self.weights if self.weights else 0.0


class MatrixReport(Tally):
    """One matrix.

    Attributes:
        module: module path, with `[q]`, `[k]`, `[v]` for a part of a fused projection.
        file_key: tensor name in the checkpoint's files.
        shape: (out_features, in_features).
        mean_score: mean importance score; None for a matrix that lost nothing.
        lost_score: share of the summed scores that went.
        error: squared output error per calibration sample, where the method knows it; from what
            the weights were solved towards, where they were solved for.
        relative_error: the same as a share of the squared outputs, where weights were solved for.
        dense_share: how far from the outputs of dense weights to those of the dense model the
            weights were solved, 0 to 1; None where the objective is `pruned-inputs`.
        target_damping: under which the dense model's outputs were sought; None where the recipe
            names one alone.
        recovery: squared error of its block's outputs, as a share of their squares, on calibration
            batches held out: before and after training; None where the block was not trained.
    """

    module: str
    file_key: str
    block: str
    modality: Modality
    shape: tuple[int, int]
    mean_score: float | None = None
    lost_score: float | None = None
    error: float | None = None
    relative_error: float | None = None
    dense_share: float | None = None
    target_damping: float | None = None
    recovery: tuple[float, float] | None = None


class GroupReport(Strict):
    """One group of matrices that shares a sparsity.

    Attributes:
        name: of the block, matrix or tower.
        score: how much the loss depends on it, summed over (first-order: mean of) batches.
        stderr: standard error of the score over the batches; None where there was one batch.
        pruned: weights the group loses.
    """

    name: str
    weights: int
    score: float
    stderr: float | None
    pruned: int

    @property
    def sparsity(self) -> float:
        """Share of the weights that goes."""
        return self.pruned / self.weights


class AllocationReport(Strict):
    """How ECoFLaP shared the budget out.

    Attributes:
        scores: what was measured; another job can start from it.
        groups: in execution order; matrices the loss does not depend on are in none.
        resolved: share of the pairs of groups whose order is significant (95 %, Student's t over
            the batches); None where there was one batch or one group.
    """

    scores: AllocationScores
    groups: tuple[GroupReport, ...]
    resolved: float | None


class Target(Strict):
    """What the recipe asks for in all, and what came of it.

    Attributes:
        scope: `model`, or the modality that has a target or a pool of its own.
        weights: in the matrices pruned.
        sparsity: asked for; what an n:m pattern means.
        target: weights that were to be zero: floor(sparsity x weights), for ECoFLaP weights -
            floor((1 - sparsity) x weights), or the share an n:m pattern fixes.
        zeros: those that are.
        difference: zeros - target.
    """

    scope: str
    weights: int
    sparsity: float
    target: int
    zeros: int
    difference: int


class ModelRecovery(Strict):
    """What training the whole model came to.

    Attributes:
        before: distance from the dense model's predictions on calibration batches held out: KL in
            nats, or squared error as a share of the squares where a model predicts nothing.
        after: the same with the weights that are kept.
        rate: share of a matrix's typical weight that one step might move it by; None where the
            weights stayed as they were.
    """

    before: float
    after: float
    rate: float | None


class PruningReport(Strict):
    """The whole run.

    `evaluation` is None where none was asked for, `structure` where all stays, `recovery` where
    the model was not trained as a whole, `search` where the sparsity was given, `quantization`
    where weights keep the type they are stored in, `performance` where the result was not to be
    measured. `tasks` are those of harnesses; `runtime_support` is of the whole result.
    `model` counts the matrices pruned, `coverage` tells what of the whole model these are.
    """

    recipe: Recipe
    targets: tuple[Target, ...] = ()
    matrices: tuple[MatrixReport, ...]
    blocks: dict[str, Tally]
    modalities: dict[Modality, Tally]
    model: Tally
    coverage: Coverage | None = None
    warnings: tuple[str, ...]
    evaluation: EvaluationReport | None = None
    allocation: AllocationReport | None = None
    structure: StructureReport | None = None
    recovery: ModelRecovery | None = None
    search: SearchReport | None = None
    quantization: QuantizationReport | None = None
    runtime_support: tuple[RuntimeSupport, ...] = ()
    performance: PerformanceReport | NotMeasured | None = None
    tasks: tuple[TaskReport | TaskFailure, ...] | None = None

    @property
    def target(self) -> int:
        """Weights that were to be zero, over all scopes."""
        return sum(each.target for each in self.targets)

    @property
    def model_sparsity(self) -> float | None:
        """Share of all weights of the model that are zeros of the matrices pruned."""
        return self.model.zeros / self.coverage.weights if self.coverage else None

    @property
    def difference(self) -> int:
        """Zeros beyond the target; negative where some are missing."""
        return sum(each.difference for each in self.targets)


def tally(reports: list[MatrixReport]) -> Tally:
    """Sums over matrices."""
    return Tally(
        weights=sum(r.weights for r in reports),
        asked=sum(r.asked for r in reports),
        zeros=sum(r.zeros for r in reports),
    )


def unpruned(recipe: Recipe) -> PruningReport:
    """Of a run in which no weight becomes zero."""
    return PruningReport(
        recipe=recipe, matrices=(), blocks={}, modalities={}, model=tally([]), warnings=()
    )
