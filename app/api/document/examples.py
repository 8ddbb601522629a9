"""One example of every body that the API takes or gives, for the OpenAPI document.

They are values of the schemas' own classes, so none can be out of date.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from app.api.datasets import schemas as datasets
from app.api.health.router import Health
from app.api.hub import schemas as hub
from app.api.jobs import schemas as jobs
from app.api.methods import schemas as methods
from app.api.models import schemas as models
from app.api.plans import schemas as plans
from app.api.projects import schemas as access
from app.api.sweeps import schemas as sweeps
from app.api.webhooks import schemas as webhooks
from app.api.workers.schemas import RetiredOut, WorkerClassList, WorkerClassOut, WorkerOut
from app.domain.job_options import JobChange
from app.domain.jobs import Artifact, Event, EventLevel, EventType, Job, JobStatus, Phase
from app.domain.models import ModelVersion
from app.domain.projects import AuditEntry, Key, Limits, LimitsChange, Project, Scope
from app.domain.publications import Publication, PublicationState
from app.domain.submission import JobRequest, JobSpec, MethodChoice, resolve
from app.domain.sweeps import Objective, Sweep, SweepRequest, SweepStatus
from app.domain.webhooks import ENDS, DeliveryState, EndpointState, WebhookEvent
from app.planning.machines import Machine, WorkerClass
from app.planning.workers import WorkerState
from app.recipes.coverage import LeftDense
from app.recipes.data import CalibrationSpec
from app.recipes.evaluation import EvaluationSpec, MetricName
from app.recipes.methods import METHODS
from app.recipes.modality import Modality
from app.strict import Strict

_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
_LATER = _AT + timedelta(minutes=4)
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_JOB, _SWEEP = "job_019a44d2c1f07b3e9c55d0a1b2c3d4e5", "swp_019a44d2c1f17c2f8d66e1b2c3d4e5f6"
_DATASET = f"sha256:{_SHA256}"
_LABELS = {"team": "search"}

_request = JobRequest(
    model="captioner",
    method="wanda",
    sparsity=0.5,
    calibration=CalibrationSpec(set="scene-captions"),
    labels=_LABELS,
)
_job = Job(
    id=_JOB,
    created_at=_AT,
    model=_request.model,
    method=_request.method,
    stored_request=_request.model_dump(mode="json", exclude_unset=True),
    stored_spec=resolve(_request).model_dump(mode="json"),
    max_attempts=3,
    labels=_LABELS,
    version=4,
    status=JobStatus.SUCCEEDED,
    progress=1,
    attempt=1,
    stored_result={"sparsity": 0.5, "seconds": 211.4},
    started_at=_AT + timedelta(seconds=1),
    finished_at=_LATER,
)
_artifact = Artifact(_JOB, 1, "model.safetensors", 90_868_376, _SHA256, "application/octet-stream")
_block = {"block": "language.layers.3", "done": 4, "total": 12}
_event = Event(41, 1, _AT, EventLevel.INFO, EventType.BLOCK, "language.layers.3", _block)
_sweep_request = SweepRequest(
    model="captioner",
    methods=[MethodChoice(method="wanda"), MethodChoice(method="multiflow")],
    sparsities=[0.5, 0.6],
    evaluation=EvaluationSpec(set=_DATASET, metrics=(MetricName.PERPLEXITY,)),
    objective=Objective(metric=MetricName.PERPLEXITY),
    labels=_LABELS,
)
_sweep = sweeps.SweepOut.of(
    Sweep(
        id=_SWEEP,
        project_id="prj_default",
        status=SweepStatus.RUNNING,
        stored_request=_sweep_request.model_dump(mode="json", exclude_unset=True),
        labels=_LABELS,
        metadata={},
        best_id=_JOB,
        created_at=_AT,
        finished_at=None,
    ),
    Counter({JobStatus.SUCCEEDED: 3, JobStatus.RUNNING: 1}),
)
_standing = sweeps.StandingOut(
    job_id=_JOB,
    status=JobStatus.SUCCEEDED,
    method="wanda",
    recipe=resolve(_request).recipe,
    sparsity=0.5,
    value=15.2,
    drop=1.1,
    bytes=52_114_200,
    seconds=211.4,
    time_ratio=0.71,
    weights_ratio=0.66,
    error_code=None,
)
_key = Key("key_019a44d2", "prj_default", "ci", Scope.SUBMIT, _AT, None, _AT, None)
_project = Project("prj_019a44d2", "vision-team", Limits(), 90_868_376, _AT)
_version = models.VersionOut.of(ModelVersion("captioner", 3, _JOB, _AT))
_publication = models.PublicationOut.of(
    Publication(
        id="pub_019a44d2",
        job_id=_JOB,
        destination="hub",
        target="acme/captioner-pruned",
        state=PublicationState.PUBLISHED,
        attempts=1,
        next_at=None,
        url="https://huggingface.co/acme/captioner-pruned",
        last_error=None,
        created_at=_LATER,
    )
)
_URL = "https://ci.example.com/hooks/secateur"
_webhook = webhooks.WebhookOut(
    id="whk_019a44d2",
    url=_URL,
    events=sorted(ENDS),
    enabled=True,
    state=EndpointState.ACTIVE,
    disabled_reason=None,
    failing_since=None,
    last_error=None,
    created_at=_AT,
)
_delivery = webhooks.DeliveryOut(
    id="msg_019a44d2",
    event=WebhookEvent.SUCCEEDED,
    payload={
        "type": "job.succeeded",
        "timestamp": _LATER.isoformat(),
        "data": {"job_id": _JOB, "attempt": 1, "labels": _LABELS},
    },
    state=DeliveryState.DELIVERED,
    attempts=1,
    next_at=None,
    last_status=200,
    last_error=None,
    created_at=_LATER,
)
_dataset = datasets.DatasetOut(
    id=_DATASET, fields=["image", "text"], rows=512, images=512, bytes=14_300_000, blank=0
)
_machine = Machine("cpu", 8 << 30, 4, "cpu", 0, None, gflops=85.0, disk_rate=9e8)
_worker = WorkerOut(
    name="worker-5f6c:17",
    worker_class="cpu",
    state=WorkerState.BUSY,
    job_id=_JOB,
    device="cpu",
    devices=0,
    device_bytes=None,
    memory_bytes=8 << 30,
    cores=4,
    versions={"python": "3.11.2", "secateur": "0.1.0", "torch": "2.13.0"},
    started_at=_AT,
    seen_at=_AT,
)
_method = methods.MethodOut.of(METHODS["wanda"])
_plan = plans.PlanOut(
    spec=resolve(_request),
    matrices=[
        plans.PlannedMatrixOut(
            file_key="language_model.model.layers.0.mlp.down_proj.weight",
            name="model.language_model.layers.0.mlp.down_proj",
            modality=Modality.LANGUAGE,
            shape=(768, 3072),
            sparsity=0.5,
        )
    ],
    routing=None,
    structure=None,
    quantization=None,
    weights={Modality.LANGUAGE: 2_359_296},
    zeros=1_179_648,
    evaluations=0,
    model_weights=22_713_216,
    reached=0.104,
    reached_blocks=0.125,
    model_sparsity=0.052,
    dense=[
        LeftDense(
            name="language_model.model.embed_tokens.weight",
            tensors=1,
            weights=3_900_000,
            reason="an embedding",
        )
    ],
    worker_class="cpu",
    memory_bytes=1_420_000_000,
    memory=plans.MemoryOut(
        libraries=340_000_000, weights=91_000_000, stages={"pruning": 989_000_000}
    ),
    phases={Phase.LOADING: 2.1, Phase.PRUNING: 190.0, Phase.EXPORTING: 3.5},
    packed_bytes=43_300_000,
    seconds=208.0,
    warnings=["unstructured sparsity gives no speed-up in common runtimes"],
)
_COMMIT = "5f0c1e2d3a4b5c6d7e8f90112233445566778899"
_entry = hub.FileEntry(
    path="model.safetensors",
    oid=_COMMIT,
    size=90_868_376,
    lfs=hub.Lfs(oid=_SHA256, size=90_868_376),
)
_branch = hub.Ref(name="main", ref="refs/heads/main", target_commit=_COMMIT)
_signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_secret = "sct_0l9Vb7pQexampleexampleexampleexampleexample"  # noqa: S105  opens nothing

_ALL: list[BaseModel] = [
    _request,
    JobChange(labels={"team": "ranking"}, priority=10),
    jobs.JobOut.of(_job),
    jobs.JobPage(jobs=[jobs.JobOut.of(_job)], next_cursor=_JOB),
    jobs.ResultOut.of(_job, [_artifact]),
    jobs.EventPage(events=[jobs.EventOut.of(_event)]),
    jobs.ArtifactList(artifacts=[jobs.ArtifactOut.of(_artifact)]),
    _sweep_request,
    _sweep,
    sweeps.SweepPage(sweeps=[_sweep], next_cursor=None),
    sweeps.Leaderboard(metric=MetricName.PERPLEXITY, standings=[_standing]),
    _plan,
    methods.MethodList(methods=[_method]),
    WorkerClassList(
        workers=[WorkerClassOut.of(WorkerClass(_machine, _AT, _AT))],
        processes=[_worker],
    ),
    RetiredOut(moved=[_JOB], failed=[]),
    _dataset,
    datasets.DatasetPage(datasets=[_dataset], next_cursor=None),
    models.VersionRequest(job_id=_JOB),
    _version,
    models.VersionList(versions=[_version]),
    models.ModelPage(models=[_version], next_cursor=None),
    models.LocalModelList(models=[models.LocalModelOut(name="scenes-clip")]),
    _publication,
    models.PublicationList(publications=[_publication]),
    webhooks.WebhookRequest(url=_URL),
    webhooks.WebhookChange(enabled=True),
    _webhook,
    webhooks.NewWebhookOut(webhook=_webhook, secret=_signing),
    webhooks.WebhookList(webhooks=[_webhook]),
    _delivery,
    webhooks.DeliveryPage(deliveries=[_delivery], next_cursor=None),
    access.KeyRequest(name="ci", scope=Scope.SUBMIT),
    access.Rotation(grace_seconds=3600),
    access.KeyOut.of(_key),
    access.NewKeyOut.of((_key, _secret)),
    access.KeyList(keys=[access.KeyOut.of(_key)]),
    access.ProjectRequest(name="vision-team"),
    access.ProjectOut.of(_project, queued=3, running=1),
    access.ProjectEntry.of(_project),
    LimitsChange(queued_jobs=500),
    access.ProjectList(projects=[access.ProjectEntry.of(_project)]),
    access.NewProjectOut.of(_project, (_key, _secret)),
    access.AuditPage(
        entries=[access.AuditOut.of(AuditEntry(7, _AT, "key_019a44d2", "job.submit", _JOB))],
        next_cursor=None,
    ),
    hub.ModelInfo(
        id="models/captioner",
        model_id="models/captioner",
        sha=_COMMIT,
        siblings=[hub.Sibling(rfilename="model.safetensors")],
    ),
    hub.Refs(
        branches=[hub.Ref(name="main", ref="refs/heads/main", target_commit=_COMMIT)], tags=[]
    ),
    Health(status="ok", checks={"database": "ok", "broker": "ok"}),
]


def _wire(each: BaseModel) -> Any:
    sent = isinstance(each, Strict) and not isinstance(each, JobSpec)
    return each.model_dump(mode="json", by_alias=True, exclude_unset=sent)


# By the name of the schema.
EXAMPLES: dict[str, Any] = {type(each).__name__: _wire(each) for each in [*_ALL, _entry]}
# By the name of the operation, where no schema has a name.
BODIES: dict[str, Any] = {
    "clone_job": {"sparsity": 0.6, "labels": None},
    "upload_dataset": '{"image": "images/1.png", "text": "a photo of a cat"}\n',
    "get_hub_paths": [EXAMPLES["FileEntry"]],
    "list_hub_tree": [EXAMPLES["FileEntry"]],
    "list_hub_folder": [EXAMPLES["FileEntry"]],
}
STREAM = (
    f"id: {_event.id}\nevent: {_event.type}\n"
    f"data: {jobs.EventOut.of(_event).model_dump_json()}\n\n: keep-alive\n\n"
)
