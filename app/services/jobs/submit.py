"""New jobs: submitted, cloned with changes, or retried."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from app.db import artifacts, jobs, workers
from app.domain.jobs import DEFAULT_CLASS, Job, JobStatus, NewJob, Phase
from app.domain.projects import Caller
from app.domain.publications import Destination
from app.domain.submission import JobRequest, JobSpec, resolve
from app.domain.webhooks import WebhookEvent
from app.errors import (
    AllocationScoreError,
    JobNotRetryableError,
    ModelFilesError,
    ModelLoadError,
    SecateurError,
    UnsafeWeightsError,
    UserError,
)
from app.planning.machines import Machine, Requirements, estimate_seconds, place, uses_gpu
from app.planning.memory import Anatomy, Memory, estimate_memory
from app.planning.model_files.files import (
    HubModel,
    LocalModel,
    ModelSource,
    check_readable,
    parse_model_source,
    resolve_local_model,
)
from app.planning.model_files.outlines import Outline, Outlines, check_form
from app.planning.plan import check_patterns
from app.planning.routable import check_routable
from app.recipes.allocation_scores import AllocationScores
from app.recipes.pruning_report import REPORT_FILE, PruningReport
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from app.services import datasets
from app.services.jobs.service import get
from app.services.lifecycle import publications
from app.services.lifecycle.job_events import about_job, notify_endpoints
from app.services.projects import service as projects
from app.services.projects.service import QuotaCache
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore
from app.telemetry.traces import origin

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
    memory: Memory | None
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
    if outline is not None:
        check_form(outline.config, outline.tensors)
    if request.publish:
        publications.check_destinations(request.publish, rules.destinations, caller.project_id)
    spec = with_earlier_scores(
        connection, caller.project_id, rules.store, _resolved(request, outline)
    )
    datasets.check_named(connection, caller, rules.datasets, request, spec=spec, outline=outline)
    if outline and isinstance(source, LocalModel):  # the hub's models: by the worker
        if isinstance(spec.recipe, Routing):
            check_routable(outline.config, spec.recipe)
        if spec.calibration or spec.evaluation:
            check_readable(resolve_local_model(source.path, rules.outlines.roots))
    recipe = spec.recipe
    if outline and isinstance(recipe, Recipe) and (recipe.targets != ("*",) or recipe.ignore):
        check_patterns(outline.tensors, outline.config, recipe)
    return Checked(spec, outline)


def _resolved(request: JobRequest, outline: Outline | None) -> JobSpec:
    return resolve(request, None if outline is None else outline.config)


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
    projects.check_quotas(connection, caller, rules.quotas)
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
        spec=checked.spec.model_dump(mode="json"),
        max_attempts=rules.max_attempts,
        project_id=caller.project_id,
        request=request.model_dump(mode="json", exclude_unset=True),
        origin=origin(),
        priority=request.priority,
        labels=request.labels,
        metadata=request.metadata,
        max_runtime=request.max_runtime_seconds,
        max_pending=request.max_pending_seconds,
        worker_class=placement.worker_class,
        memory_bytes=placement.memory_bytes,
        **kin,
    )
    job, interested = jobs.queue(connection, new, key_id=caller.key_id, action=action)
    if interested:
        notify_endpoints(connection, interested, WebhookEvent.QUEUED, about_job(job))
    return job


def placed(
    connection: Connection, request: JobRequest, checked: Checked, rules: Rules
) -> Placement:
    """Where the job goes.

    Raises:
        UserError: no worker can take it.
    """
    return _place(
        connection,
        request,
        checked.spec,
        checked.outline,
        machines=rules.machines,
        activations=rules.activation_bytes,
    )


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
    merged = original.request | changes
    request = JobRequest.model_validate({k: v for k, v in merged.items() if v is not None})
    return submit(connection, caller, request, rules, source_id=job_id, action="job.clone")


def retry(connection: Connection, caller: Caller, job_id: str, rules: Rules) -> Job:
    """Submit the request of a failed or cancelled job again, as a new job.

    What has ended stays as it is: its events, its error, whoever was told of it.

    Raises:
        JobNotFoundError: the project has no such job.
        JobNotRetryableError: it has not failed.
        UserError: as for a submit.
    """
    original = get(connection, caller, job_id)
    if original.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise JobNotRetryableError(f"job {job_id!r} is {original.status}; clone it instead")
    request = JobRequest.model_validate(original.request)
    return submit(connection, caller, request, rules, source_id=job_id, action="job.retry")


def _place(
    connection: Connection,
    request: JobRequest,
    spec: JobSpec,
    outline: Outline | None,
    *,
    machines: Machines,
    activations: int,
) -> Placement:
    """Estimate the job and choose its workers.

    Args:
        connection: a transaction.
        request: what the client asks for.
        spec: the same, resolved.
        outline: the model's; None where it could not be had.
        machines: what there is.
        activations: bytes of them that workers hold in host memory.

    Raises:
        UnknownWorkerClassError: no worker of the class asked for has ever started.
        NoWorkerError: no worker has the device.
        JobTooLargeError: it fits none of them.
    """
    if outline is None or not outline.tensors:
        machine = machines.choose(
            connection, Requirements(spec.device, request.worker_class, None, None)
        )
        return Placement(_class_of(machine), None, None)
    anatomy = Anatomy.of(outline.tensors, outline.config)
    on_host = estimate_memory(anatomy, spec, activations=activations)
    on_gpu = estimate_memory(anatomy, spec, gpu=True)
    requirements = Requirements(spec.device, request.worker_class, on_host.peak, on_gpu.peak)
    machine = machines.choose(connection, requirements)
    gpu = machine is not None and uses_gpu(machine, spec.device)
    seconds = estimate_seconds(anatomy, spec, machine) if machine else None
    return Placement(_class_of(machine), on_gpu if gpu else on_host, seconds)


def _class_of(machine: Machine | None) -> str:
    return DEFAULT_CLASS if machine is None else machine.worker_class


def with_earlier_scores(
    connection: Connection, project_id: str, store: ArtifactStore, spec: JobSpec
) -> JobSpec:
    """The specification with the scores its recipe names, so that nothing is left to look up.

    Raises:
        AllocationScoreError: the project has no such job, or it has not succeeded, pruned another
            model or measured no scores.
    """
    if not isinstance(spec.recipe, Recipe):
        return spec
    scoring = spec.recipe.allocation.scoring
    if scoring is None or scoring.kind != "reused":
        return spec
    job_id = scoring.job
    job = jobs.get(connection, project_id, job_id)
    if job is None:
        raise AllocationScoreError(f"scores_from: there is no job {job_id!r}")
    if job.spec["model"] != spec.model:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} pruned {job.spec['model']!r}, not {spec.model!r}"
        )
    return spec.model_copy(update={"scores": _earlier_scores(connection, store, job)})


def _earlier_scores(connection: Connection, store: ArtifactStore, job: Job) -> AllocationScores:
    job_id = job.id
    artifact = artifacts.get(connection, job_id, REPORT_FILE)
    if artifact is None:
        raise AllocationScoreError(f"scores_from: job {job_id!r} is {job.status}; it has no report")
    report = PruningReport.model_validate_json(b"".join(store.read(artifact)))
    if report.allocation is None:
        raise AllocationScoreError(
            f"scores_from: job {job_id!r} measured no scores; its method was {job.spec['method']}"
        )
    return report.allocation.scores
