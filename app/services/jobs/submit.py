"""New jobs: submitted, cloned with changes, or retried."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from app.db import jobs, workers
from app.domain.jobs import DEFAULT_CLASS, Job, JobStatus, NewJob, Phase
from app.domain.projects import Caller
from app.domain.publications import Destination
from app.domain.submission import JobRequest, JobSpec, resolve
from app.domain.webhooks import WebhookEvent
from app.errors import (
    CalibrationDataError,
    HubUnavailableError,
    JobNotRetryableError,
    ModelFilesError,
    ModelLoadError,
    SecateurError,
    UnsafeWeightsError,
    UserError,
)
from app.ids import origin
from app.planning.machines import (
    JobTooLargeError,
    Machine,
    MeasuringTooLargeError,
    Requirements,
    gigabytes,
    libraries_of,
    place,
    uses_gpu,
)
from app.planning.memory import MemoryEstimate, estimate_memory
from app.planning.model_files.files import (
    HubModel,
    LocalModel,
    ModelSource,
    parse_model_source,
)
from app.planning.model_files.outlines import Outline, Outlines
from app.planning.plan import check_patterns
from app.planning.quantization import plan_quantization
from app.planning.routable import check_routable
from app.planning.seconds import estimate_seconds
from app.planning.size_target import climb, size
from app.planning.structure import plan_structure
from app.recipes.allocation import Reused
from app.recipes.data import (
    FIELDS,
    Builtin,
    Uploaded,
    architecture_of,
    check_calibration,
    check_evaluation,
    check_modalities,
    inputs_of,
    parse_dataset,
)
from app.recipes.evaluation import MetricName, check_metrics
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from app.recipes.search import AUTO, Search
from app.recipes.structure import modalities_of
from app.recipes.tasks import check_model
from app.services import datasets
from app.services.jobs.earlier_scores import find_scores
from app.services.jobs.service import get
from app.services.lifecycle import publications
from app.services.lifecycle.job_events import about_job, notify_endpoints
from app.services.projects import service as projects
from app.services.projects.service import QuotaCache
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore

REMEMBERED = 1.0  # seconds
_MOST = (1 << 63) - 1  # what a column of the database holds


class Machines:
    """The worker classes as one process knows them: as of a second ago, unless that is too few."""

    def __init__(self) -> None:
        self._known: list[Machine] = []
        self._until = 0.0

    def choose(self, connection: Connection, requirements: Requirements) -> Machine | None:
        """The class for a job; None where no worker has ever started.

        Raises:
            UnknownWorkerClassError: no worker of the class asked for has ever started.
            NoWorkerError: no worker has the device.
            JobTooLargeError: the job fits none of them.
        """
        if self._known and time.monotonic() < self._until:
            with suppress(UserError):  # one that has started since may have what it takes
                return place(self._known, requirements)
        self._known = [each.machine for each in workers.listing(connection)]
        self._until = time.monotonic() + REMEMBERED
        return place(self._known, requirements)

    def forget(self) -> None:
        """Look again before the next choice: a class has gone."""
        self._until = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the installation says about every job."""

    outlines: Outlines
    store: ArtifactStore
    datasets: DatasetStore
    activation_bytes: int
    max_attempts: int
    machines: Machines = field(default_factory=Machines)
    quotas: QuotaCache = field(default_factory=QuotaCache)
    destinations: Mapping[str, Destination] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that can be carried out.

    Attributes:
        spec: what to do, resolved.
        outline: the model's; None where the hub does not give it to this process now.
    """

    spec: JobSpec
    outline: Outline | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a job goes.

    Attributes:
        worker_class: the workers that may take it.
        memory: estimated; None where the hub did not give the model's headers.
        seconds: estimated by phase; None like `memory`, or before such a worker has started.
    """

    worker_class: str
    memory: MemoryEstimate | None
    seconds: dict[Phase, float] | None

    @property
    def memory_bytes(self) -> int | None:
        """Peak memory, up to what a column of the database holds."""
        return None if self.memory is None else min(self.memory.peak, _MOST)


def check(connection: Connection, caller: Caller, request: JobRequest, rules: Rules) -> Checked:
    """Everything a submit checks about its request; plans and submits refuse the same.

    Raises:
        UserError: the model, a data set, the method or its parameters cannot be accepted.
    """
    source = parse_model_source(request.model)
    outline = outline_of(source, rules.outlines, caller.project_id)
    if request.publish:
        publications.check_destinations(request.publish, rules.destinations, caller.project_id)
    spec = resolve(request, None if outline is None else outline.config)
    if isinstance(spec.recipe, Recipe) and isinstance(spec.recipe.allocation.scoring, Reused):
        # Stored with the job, so that nothing is left to look up.
        measured = find_scores(
            connection,
            caller.project_id,
            rules.store,
            job_id=spec.recipe.allocation.scoring.job,
            model=spec.model,
        )
        spec = spec.model_copy(update={"scores": measured})
    _check_sets(connection, caller, rules.datasets, request, spec=spec, outline=outline)
    if outline and spec.tasks:
        check_model(spec.tasks, spec.model, outline.config)
    if outline and outline.unreadable and (spec.calibration or spec.evaluation):
        raise CalibrationDataError(outline.unreadable)
    if outline and isinstance(source, LocalModel) and isinstance(spec.recipe, Routing):
        check_routable(outline.config, spec.recipe)  # the hub's models: by the worker
    spec = _sized(spec, request, outline)
    if outline and isinstance(spec.recipe, Recipe):
        _check_matrices(outline, spec.recipe)
    return Checked(spec, outline)


def _check_matrices(outline: Outline, recipe: Recipe) -> None:
    """Refuse a recipe whose parts do not fit what is left of the model."""
    left = reduced(outline, recipe)
    if recipe.quantization is not None:
        plan_quantization(left, recipe)
    if recipe.targets != ("*",) or recipe.ignore:
        check_patterns(left.tensors, left.config, recipe)


def _sized(spec: JobSpec, request: JobRequest, outline: Outline | None) -> JobSpec:
    """The specification with the shares that meet the request's target.

    Raises:
        HubUnavailableError: the hub does not give the shapes that the shares follow from.
        StructureError: no share meets it.
    """
    if not request.targets_size or not isinstance(spec.recipe, Recipe):
        return spec
    if outline is None:
        raise HubUnavailableError(
            "the hub does not give the headers of the model's files now, which the shares for "
            f"{request.size_target} follow from; try again, or give the shares"
        )
    if request.target_parameters == AUTO:
        ladders = spec.search.ladders if spec.search else ()
        search = Search(ladders=(climb(outline, spec.recipe), *ladders))
        recipe = search.applied(spec.recipe, search.first)
        return spec.model_copy(update={"recipe": recipe, "search": search})
    recipe = size(outline, spec.recipe, request)
    return spec.model_copy(update={"recipe": recipe})


def reduced(outline: Outline, recipe: Recipe) -> Outline:
    """What is left of a model once the recipe has taken its structure out.

    Raises:
        StructureError: it cannot be taken out.
    """
    return plan_structure(outline, recipe).outline if recipe.structure else outline


def submit(
    connection: Connection,
    caller: Caller,
    request: JobRequest,
    rules: Rules,
    *,
    source_id: str | None = None,
    action: str = "job.submit",
) -> Job:
    """Store the job and its outbox message together; the message leaves after the commit.

    Raises:
        UserError: `check` refuses the request, no worker can take it, or a quota is used up.
    """
    checked = check(connection, caller, request, rules)
    projects.check_quotas(connection, caller, rules.quotas, jobs=1)
    return enqueue(connection, caller, request, checked, rules, action=action, source_id=source_id)


def enqueue(
    connection: Connection,
    caller: Caller,
    request: JobRequest,
    checked: Checked,
    rules: Rules,
    *,
    action: str | None = None,
    **kin: str | None,
) -> Job:
    """Store a job that was checked; `kin` are the ids of its source, its sweep and its leader.

    Raises:
        UserError: no worker can take it.
    """
    placement = placed(connection, request, checked, rules)
    new = NewJob(
        request=request,
        spec=checked.spec,
        max_attempts=rules.max_attempts,
        project_id=caller.project_id,
        origin=origin(),
        worker_class=placement.worker_class,
        memory_bytes=placement.memory_bytes,
        **kin,
    )
    job, interested = jobs.queue(connection, new, key_id=caller.id, action=action)
    if interested:
        notify_endpoints(connection, interested, WebhookEvent.QUEUED, about_job(job))
    return job


def outline_of(source: ModelSource, outlines: Outlines, project_id: str) -> Outline | None:
    """The model's outline; None where the hub does not give it to this process now.

    That refuses no job: workers may have another token or another way to the hub, and try again.

    Raises:
        UserError: the model's files are not ones we load.
    """
    try:
        return outlines.of(source, project_id)
    except (ModelFilesError, ModelLoadError, UnsafeWeightsError):
        raise
    except SecateurError:
        if isinstance(source, HubModel):
            return None
        raise


def clone(
    connection: Connection, caller: Caller, job_id: str, changes: dict[str, Any], rules: Rules
) -> Job:
    """Submit the job's request again with some of its fields replaced; None takes one out.

    Raises:
        JobNotFoundError: the project has no such job.
        ValidationError: pydantic's; the changed request is none.
        UserError: as for a submit.
    """
    original = get(connection, caller, job_id)
    merged = original.stored_request | changes  # they may mend what this version cannot read
    request = JobRequest.model_validate({k: v for k, v in merged.items() if v is not None})
    return submit(connection, caller, request, rules, source_id=job_id, action="job.clone")


def retry(connection: Connection, caller: Caller, job_id: str, rules: Rules) -> Job:
    """Submit the request of a failed or cancelled job again, as a new job.

    What has ended stays as it is: its events, its error, whoever was told of it.

    Raises:
        JobNotFoundError: the project has no such job.
        JobNotRetryableError: it has not failed.
        JobUnreadableError: this version cannot read its request.
        UserError: as for a submit.
    """
    original = get(connection, caller, job_id)
    if original.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise JobNotRetryableError(f"job {job_id!r} is {original.status}; clone it instead")
    return submit(connection, caller, original.request, rules, source_id=job_id, action="job.retry")


def placed(
    connection: Connection, request: JobRequest, checked: Checked, rules: Rules
) -> Placement:
    """Estimate the job and choose its workers.

    Raises:
        UnknownWorkerClassError: no worker of the class asked for has ever started.
        NoWorkerError: no worker has the device.
        LibraryMissingError: none imports a library that the model needs.
        TaskNotOfferedError: none has all tasks of harnesses.
        JobTooLargeError: it fits none of them.
        MeasuringTooLargeError: it would without measuring.
    """
    spec, outline, machines = checked.spec, checked.outline, rules.machines
    tasks = frozenset(task.offer for task in spec.tasks)
    if outline is None or not outline.tensors:
        requirements = Requirements(spec.device, request.worker_class, None, None, tasks=tasks)
        machine = machines.choose(connection, requirements)
        return Placement(_class_of(machine), None, None)
    layout = outline.layout
    on_host = estimate_memory(layout, spec, activations=rules.activation_bytes)
    on_gpu = estimate_memory(layout, spec, gpu=True, activations=rules.activation_bytes)
    requirements = Requirements(
        spec.device,
        request.worker_class,
        on_host.peak,
        on_gpu.peak,
        libraries_of(outline.config, reads_data=bool(spec.calibration or spec.evaluation)),
        str(outline.config.get("model_type")),
        tasks,
    )
    try:
        machine = machines.choose(connection, requirements)
    except JobTooLargeError as error:
        if not spec.measure:
            raise
        plain = replace(checked, spec=spec.model_copy(update={"measure": False}))
        placed(connection, request, plain, rules)  # where that does not fit, it says so
        raise MeasuringTooLargeError(
            f"a worker could take the job, but measuring holds the whole model in memory, about "
            f"{gigabytes(on_host.stages['measuring'])}; leave measure out, or start a larger worker"
        ) from error
    gpu = machine is not None and uses_gpu(machine, spec.device)
    seconds = estimate_seconds(layout, spec, machine) if machine else None
    return Placement(_class_of(machine), on_gpu if gpu else on_host, seconds)


def _class_of(machine: Machine | None) -> str:
    return DEFAULT_CLASS if machine is None else machine.worker_class


def _check_sets(
    connection: Connection,
    caller: Caller,
    store: DatasetStore,
    request: JobRequest,
    *,
    spec: JobSpec,
    outline: Outline | None,
) -> None:
    """Refuse a job whose sets the project does not have, or the model cannot take.

    Args:
        connection: a transaction.
        caller: whose project it is.
        store: of the uploads.
        request: what is asked, with sets that its method may not read.
        spec: what would be done.
        outline: of the model; None where it could not be had.

    Raises:
        DatasetNotFoundError: one is not there.
        CalibrationDataError: the model cannot take the calibration set.
        EvaluationDataError: the model cannot take the evaluation set.
        MetricNotApplicableError: a metric, or that of the gate, cannot be measured there.
        RecipeError: a sparsity is given for a part that the model does not have.
    """
    evaluation = request.evaluation.set if request.evaluation else None
    named = {request.calibration.set, evaluation, *_sets(spec)}
    fields = {name: _fields(connection, caller, store, name) for name in named if name}
    takes = None if outline is None else inputs_of(outline.config)
    if outline is None or takes is None:
        return
    asked = set(request.sparsity) if isinstance(request.sparsity, dict) else set()
    if isinstance(spec.recipe, Recipe) and spec.recipe.structure:
        asked |= modalities_of(spec.recipe.structure)
    check_modalities(takes, spec.model, asked)
    calibrated, evaluated = _sets(spec)
    if calibrated and (known := fields[calibrated]) is not None:
        check_calibration(takes, spec.model, calibrated, known)
    if evaluated and (known := fields[evaluated]) is not None:
        check_evaluation(takes, spec.model, evaluated, known)
        check_metrics(architecture_of(outline.config), evaluated, known, _metrics(spec))


def _metrics(spec: JobSpec) -> set[MetricName]:
    """Those that are asked for, and that of the gate."""
    asked = spec.evaluation.metrics if spec.evaluation else ()
    return {*asked, *([spec.quality_gate.metric] if spec.quality_gate else [])}


def _sets(spec: JobSpec) -> tuple[str | None, str | None]:
    """Names of the sets for calibration and for evaluation."""
    return (
        spec.calibration.set if spec.calibration else None,
        spec.evaluation.set if spec.evaluation else None,
    )


def _fields(
    connection: Connection, caller: Caller, store: DatasetStore, name: str
) -> Collection[str] | None:
    """Fields of a set's records; None where only its rows tell."""
    source = parse_dataset(name)
    if isinstance(source, Builtin):
        return FIELDS[source]
    if isinstance(source, Uploaded):
        return datasets.get(connection, caller, store, name, keep=True).fields
    return None
