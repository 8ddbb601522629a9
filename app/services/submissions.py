"""New jobs: submitted, cloned with changes, or retried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from app.db import queueing
from app.domain.access import Caller
from app.domain.checkpoint_form import check_form
from app.domain.destinations import Destination
from app.domain.errors import (
    JobNotRetryableError,
    ModelFilesError,
    ModelLoadError,
    SecateurError,
    UnsafeWeightsError,
)
from app.domain.jobs import Job, JobStatus, NewJob
from app.domain.model_source import HubModel, LocalModel, ModelSource, parse_model_source
from app.domain.pattern_check import check_patterns
from app.domain.recipe import Recipe
from app.domain.routable import check_routable
from app.domain.routing import Routing
from app.domain.submission import JobRequest, JobSpec, resolve
from app.domain.webhooks import WebhookEvent
from app.services import datasets, placements, projects, publishing
from app.services.earlier_scores import with_scores
from app.services.jobs import get
from app.services.machines import Machines
from app.services.notices import about_job, send
from app.services.room import Room
from app.sources.directory import resolve_local_model
from app.sources.outlines import Outline, Outlines
from app.sources.readable import check_readable
from app.storage.datasets import DatasetStore
from app.storage.store import ArtifactStore
from app.telemetry.context import origin


@dataclass(frozen=True, slots=True)
class Rules:
    """What the installation says about every job."""

    outlines: Outlines
    store: ArtifactStore
    datasets: DatasetStore
    activation_bytes: int
    max_attempts: int
    machines: Machines = field(default_factory=Machines)
    room: Room = field(default_factory=Room)
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


def check(connection: Connection, caller: Caller, request: JobRequest, rules: Rules) -> Checked:
    """Everything a submit checks about its request; plans and submits refuse the same.

    Raises:
        UserError: the model, a data set, the method or its parameters cannot be accepted.
    """
    source = parse_model_source(request.model)
    outline = outline_of(source, rules.outlines, caller.project_id)
    if outline is not None:
        check_form(outline.config, outline.tensors)
    publishing.check_destinations(request.publish, rules.destinations, caller.project_id)
    spec = with_scores(connection, caller.project_id, rules.store, _resolved(request, outline))
    datasets.check_named(connection, caller, rules.datasets, request, spec=spec, outline=outline)
    if outline and isinstance(source, LocalModel):  # the hub's models: by the worker
        if isinstance(spec.recipe, Routing):
            check_routable(outline.config, spec.recipe)
        if spec.calibration or spec.evaluation:
            check_readable(resolve_local_model(source.path, rules.outlines.roots))
    if outline and isinstance(spec.recipe, Recipe):
        check_patterns(outline.tensors, outline.config, spec.recipe)
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
    projects.check_quotas(connection, caller, rules.room)
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
    job, interested = queueing.add(connection, new, key_id=caller.key_id, action=action)
    send(connection, interested, WebhookEvent.QUEUED, about_job(job))
    return job


def placed(
    connection: Connection, request: JobRequest, checked: Checked, rules: Rules
) -> placements.Placement:
    """Where the job goes.

    Raises:
        UserError: no worker can take it.
    """
    return placements.place(
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
