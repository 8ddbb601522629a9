"""Plans: everything that can be told of a job without submitting it."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection

from app.db import jobs, worker_classes
from app.domain.access import Caller
from app.domain.budgets import total_of
from app.domain.model_source import parse_model_source
from app.domain.pattern_check import check_patterns
from app.domain.plans import PlannedMatrix, prunable, warnings
from app.domain.recipe import Modality, Recipe
from app.domain.routable import PlannedRouting, plan_routing, routing_warnings
from app.domain.routing import Routing
from app.domain.submission import JobRequest, JobSpec
from app.services import projects
from app.services.placements import Placement
from app.services.submissions import Checked, Rules, check, placed
from app.sources.outlines import Outline


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job would do.

    Attributes:
        spec: what would be stored.
        matrices: empty where the method prunes routes.
        routing: what a router may decide; None where the method prunes weights, or where the
            configuration was not seen.
        weights: per modality, in those matrices.
        model_weights: all numbers in the checkpoint.
        packed_bytes: of the packed download, before compression.
        seconds: median of the project's earlier jobs of this model and method; None without any.
        placement: where it would run, and what it should take there.
        warnings: sentences.
    """

    spec: JobSpec
    matrices: list[PlannedMatrix]
    routing: PlannedRouting | None
    weights: dict[Modality, int]
    model_weights: int
    packed_bytes: int
    seconds: float | None
    placement: Placement
    warnings: list[str]

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
    projects.check_quotas(connection, caller, rules.room)
    outline = rules.outlines.of(parse_model_source(spec.model), caller.project_id)
    placement = placed(connection, request, Checked(spec, outline), rules)
    recipe = spec.recipe
    matrices = []
    if isinstance(recipe, Recipe):
        matrices = prunable(outline.tensors, outline.config, recipe)
    told = _warnings(spec, matrices)
    if isinstance(recipe, Recipe):
        unmatched = check_patterns(outline.tensors, outline.config, recipe)
        told += [f"ignore: {pattern!r} matches no module" for pattern in unmatched]
    if outline.unread:
        told.append(f"files of weights that are not read: {', '.join(outline.unread[:5])}")
    found = worker_classes.get(connection, placement.worker_class)
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
        model_weights=sum(tensor.numel for tensor in outline.tensors.values()),
        packed_bytes=_packed(outline, spec, matrices),
        seconds=jobs.median_seconds(connection, caller.project_id, spec.model, spec.method),
        placement=placement,
        warnings=told,
    )


def _packed(outline: Outline, spec: JobSpec, matrices: list[PlannedMatrix]) -> int:
    """Bytes of all tensors; of a pruned matrix a bit per weight and the weights left, if fewer."""
    saved = 0.0
    if isinstance(spec.recipe, Recipe):
        for matrix in matrices:
            zeros = matrix.numel * spec.recipe.sparsity_of(matrix.modality)
            saved += max(0.0, zeros * matrix.bits - matrix.numel) / 8
    return sum(tensor.bytes for tensor in outline.tensors.values()) - int(saved)


def _warnings(spec: JobSpec, matrices: list[PlannedMatrix]) -> list[str]:
    if isinstance(spec.recipe, Recipe):
        return warnings(spec.recipe, matrices)
    return routing_warnings(spec.calibration.samples) if spec.calibration else []


def _routing(outline: Outline, spec: JobSpec) -> PlannedRouting | None:
    if not isinstance(spec.recipe, Routing):
        return None
    return plan_routing(outline.config, spec.recipe)
