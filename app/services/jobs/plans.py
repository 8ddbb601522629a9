"""Plans: everything that can be told of a job without submitting it."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from app.db import jobs, workers
from app.domain.jobs import Phase
from app.domain.projects import Caller
from app.domain.submission import JobRequest, JobSpec
from app.planning.model_files.files import parse_model_source
from app.planning.model_files.outlines import Outline
from app.planning.plan import PlannedMatrix, check_patterns, coverage_of, prunable, warnings
from app.planning.quantization import plan_quantization, quantizable
from app.planning.routable import PlannedRouting, plan_routing, routing_warnings
from app.planning.structure import plan_structure
from app.recipes.budgets import total_of
from app.recipes.coverage import Coverage
from app.recipes.modality import Modality
from app.recipes.performance import BUDGET, ROUNDS
from app.recipes.quantization import QuantizationReport
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from app.recipes.search import in_words
from app.recipes.structure_report import StructureReport
from app.services.jobs.submit import Checked, Placement, Rules, check, placed
from app.services.projects import service as projects


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job would do.

    Attributes:
        spec: what would be stored.
        matrices: empty where the method prunes routes.
        routing: what a router may decide; None where the method prunes weights, or where the
            configuration was not seen.
        weights: per modality, in those matrices.
        coverage: what the recipe reaches of the model; None where no weights become zero.
        structure: what is taken out of the model before; None where nothing is.
        quantization: what is stored in 8 bits; None where nothing is.
        model_weights: all numbers in the checkpoint that is left.
        packed_bytes: of the packed download, before compression.
        seconds: median of the project's earlier jobs of this model and method; None without any.
        placement: where it would run, and what it should take there.
        warnings: sentences.
    """

    spec: JobSpec
    matrices: list[PlannedMatrix]
    routing: PlannedRouting | None
    weights: dict[Modality, int]
    coverage: Coverage | None
    structure: StructureReport | None
    quantization: QuantizationReport | None
    model_weights: int
    packed_bytes: int
    seconds: float | None
    placement: Placement
    warnings: list[str]

    @property
    def evaluations(self) -> int:
        """How often the model is measured, dense model included."""
        spec = self.spec
        tries = spec.search.evaluations if spec.search else 1
        return 1 + tries if spec.evaluation else 0

    @property
    def zeros(self) -> int:
        """How many weights would be zero."""
        recipe = self.spec.recipe
        if not isinstance(recipe, Recipe):
            return 0
        return total_of(recipe, self.weights)


def plan(connection: Connection, caller: Caller, request: JobRequest, rules: Rules) -> Plan:
    """Check the request as a submit would, and tell what would come of it.

    Raises:
        UserError: whatever the submit would raise now, quotas included; the hub does not give the
            model to this process.
        HubUnavailableError: the hub does not answer. A submit is taken all the same.
    """
    spec = check(connection, caller, request, rules).spec
    projects.check_quotas(connection, caller, rules.quotas, jobs=1)
    outline = rules.outlines.of(parse_model_source(spec.model), caller.project_id)
    placement = placed(connection, request, Checked(spec, outline), rules)
    recipe = spec.recipe
    matrices, structure, quantized = [], None, None
    if isinstance(recipe, Recipe) and recipe.structure:
        structure = plan_structure(outline, recipe)
        outline = structure.outline
    if isinstance(recipe, Recipe):
        matrices = prunable(outline.tensors, outline.config, recipe)
        quantized = plan_quantization(outline, recipe)
    told, coverage = _warnings(spec, matrices), None
    told += structure.notes if structure else ()
    if (placement.seconds or {}).get(Phase.MEASURING) == BUDGET:
        told.append(
            f"measuring ends after {BUDGET:.0f} s: on these workers that is too little for all "
            f"{ROUNDS} rounds, and may be for any"
        )
    if spec.search is not None:
        told.append(
            "what may go is looked for; what is told here of zeros, parameters and bytes is of "
            f"{in_words(spec.search.first)}, which is tried first"
        )
    if isinstance(recipe, Recipe) and outline.tensors and recipe.zeroes:
        coverage = coverage_of(outline.tensors, outline.config, recipe, matrices)
        told = [coverage.warning, *told] if coverage.warning else told
    if isinstance(recipe, Recipe):
        unmatched = check_patterns(outline.tensors, outline.config, recipe)
        told += [f"ignore: {pattern!r} matches no module" for pattern in unmatched]
    if outline.unread:
        told.append(f"files of weights that are not read: {', '.join(outline.unread[:5])}")
    found = workers.get(connection, placement.worker_class)
    if found is not None and found.silent:
        told.append(f"the job would wait: {found}")
    weights: Counter[Modality] = Counter()
    for matrix in matrices:
        weights[matrix.modality] += matrix.numel
    return Plan(
        spec=spec,
        matrices=matrices,
        routing=_routing(outline, spec),
        weights=dict(weights),
        coverage=coverage,
        structure=structure.report if structure else None,
        quantization=quantized,
        model_weights=sum(tensor.numel for tensor in outline.tensors.values()),
        packed_bytes=_packed(outline, spec, matrices, quantized),
        seconds=jobs.median_seconds(connection, caller.project_id, spec.model, spec.method),
        placement=placement,
        warnings=told,
    )


def _packed(
    outline: Outline,
    spec: JobSpec,
    matrices: list[PlannedMatrix],
    quantized: QuantizationReport | None,
) -> int:
    """Bytes of all tensors; of a pruned matrix a bit per weight and the weights left, if fewer."""
    saved = 0.0 if quantized is None else float(quantized.bytes_before - quantized.bytes)
    small = {m.file_key for m in quantizable(outline)} if quantized else set()
    if isinstance(spec.recipe, Recipe):
        for matrix in matrices:
            zeros = matrix.numel * spec.recipe.sparsity_of(matrix.modality)
            bits = 8 if matrix.file_key in small else matrix.bits
            saved += max(0.0, zeros * bits - matrix.numel) / 8
    return sum(tensor.bytes for tensor in outline.tensors.values()) - int(saved)


def _warnings(spec: JobSpec, matrices: list[PlannedMatrix]) -> list[str]:
    if isinstance(spec.recipe, Recipe):
        told = warnings(spec.recipe, matrices) if spec.recipe.zeroes else []
        untimed = "tasks of harnesses run on both models; the time they take is not told here"
        return [*told, untimed] if spec.tasks else told
    return routing_warnings(spec.calibration.samples) if spec.calibration else []


def _routing(outline: Outline, spec: JobSpec) -> PlannedRouting | None:
    if not isinstance(spec.recipe, Routing):
        return None
    return plan_routing(outline.config, spec.recipe)
