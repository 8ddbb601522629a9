"""Made by `generate.py`; do not edit."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

TargetDamping: TypeAlias = float


class Admm(TypedDict):
    """
    Mask and weights solved for together (Boža, arXiv 2401.02938; ALPS, arXiv 2406.07831).
    """

    damping: NotRequired[float]
    kind: NotRequired[Literal["admm"]]
    objective: NotRequired[Literal["pruned-inputs", "dense-inputs", "mixed"]]
    penalty: NotRequired[float]
    rounds: NotRequired[int]
    steps: NotRequired[int]
    target_dampings: NotRequired[list[TargetDamping]]


class Amount(TypedDict):
    """
    Bytes of both models.
    """

    dense: int
    result: int


class ArtifactOut(TypedDict):
    """
    One published file.
    """

    media_type: str
    path: str
    sha256: str
    size: int


class AuditOut(TypedDict):
    """
    One change.
    """

    action: str
    at: str
    id: int
    key_id: str
    target: str


class AuditPage(TypedDict):
    """
    Changes, newest first.
    """

    entries: list[AuditOut]
    next_cursor: int | None


class BlockStructure(TypedDict):
    """
    What became of one block.

    Attributes:
        name: of the block before; under `width`, of the projection that reads the channels; under
            `experts`, of the experts.
        kept: channels or experts that are left; under `depth` 1 or 0: the block stays or went.
        score: what decided; `keep` where the blocks that stay were named.
        value: under `depth`, the score itself: the smallest went first.
        error: under `width`, squared error of the output of that projection as a share of its
            square, on tokens that were held out; None where there were none.
        experts: under `experts`, those that are left, by the numbers they had.
    """

    error: NotRequired[float | None]
    experts: NotRequired[list[int] | None]
    kept: int
    name: str
    score: str
    value: NotRequired[float | None]


class CalibrationSpec(TypedDict):
    """
    Which data a method looks at, and how much of it.
    """

    batch_size: NotRequired[int]
    max_length: NotRequired[int]
    samples: NotRequired[int]
    set: NotRequired[str | None]
    tokens: NotRequired[Literal["all", "atv", "amia"] | None]


class Chita(TypedDict):
    """
    Block-wise Fisher quadratic (Benbaki et al., ICML 2023, arXiv 2302.14623).
    """

    block_size: NotRequired[int]
    damping: NotRequired[float]
    kind: NotRequired[Literal["chita"]]
    stages: NotRequired[int]


class DatasetOut(TypedDict):
    """
    An uploaded data set. It never changes: other content has another id.
    """

    blank: int
    bytes: int
    fields: list[str]
    id: str
    images: int
    rows: int


class DatasetPage(TypedDict):
    """
    Data sets, by id.
    """

    datasets: list[DatasetOut]
    next_cursor: str | None


DeliveryState: TypeAlias = Literal["pending", "delivered", "failed"]


class Density(TypedDict):
    """
    How unlike each other a matrix makes image and text tokens: TAMP's diversity-aware score.

    Mean over samples of (1 - v) + (1 - l) + (1 - x), v, l and x the mean cosines of outputs among
    image tokens, among text tokens, and across (Lee et al., ACL Findings 2025, arXiv 2504.09897).
    Of a mean over no pair the paper's code makes NaN; here it is 0.
    """

    kind: NotRequired[Literal["density"]]
    samples: NotRequired[int]


KeepItem: TypeAlias = int


class Depth(TypedDict):
    """
    Fewer blocks: those that matter least are left out, or those that are not named to stay.
    """

    ends: NotRequired[bool]
    keep: NotRequired[list[KeepItem] | dict[Modality, list[KeepItem]] | None]
    kind: NotRequired[Literal["depth"]]
    removed: NotRequired[float | dict[Modality, float] | None]
    score: NotRequired[Literal["influence", "output", "gradient-norm"]]


class EarlierFigures(TypedDict):
    """
    Figures in the form of an earlier version, kept as they are.
    """


EndpointState: TypeAlias = Literal["active", "failing", "disabled"]


class Estimate(TypedDict):
    """
    A metric with its 95 % interval (percentile bootstrap over records).
    """

    high: float
    low: float
    value: float


EventLevel: TypeAlias = Literal["info", "warning", "error"]


EventType: TypeAlias = Literal[
    "status", "phase", "block", "metric", "warning", "log", "publication", "member"
]


class Experts(TypedDict):
    """
    Fewer experts in every mixture, the same number in every layer; shared experts stay.

    Rows of the routers and biases go with them.
    """

    kind: NotRequired[Literal["experts"]]
    removed: NotRequired[float | dict[Modality, float]]
    score: NotRequired[Literal["reap", "norm", "frequency"]]


FailureKind: TypeAlias = Literal["user_error", "system_error"]


class FirstOrder(TypedDict):
    """
    Sums over a matrix of |W| |g|, W^2 g^2 or |g|, mean over batches: the official variant.
    """

    form: NotRequired[Literal["magnitude", "squared", "gradient"]]
    kind: NotRequired[Literal["first-order"]]
    samples: NotRequired[int]


class FlopsRatio(TypedDict):
    """
    Prefill operations, router included, over those of the dense model.
    """

    kind: NotRequired[Literal["flops-ratio"]]
    ratio: float


class Flow(TypedDict):
    """
    |w_ij| * O_i * I_j, information flow of MULTIFLOW (Farina et al., arXiv 2404.05621).
    """

    kind: NotRequired[Literal["flow"]]


class FolderEntry(TypedDict):
    """
    A folder of a tree.
    """

    oid: str
    path: str
    size: NotRequired[int]
    type: NotRequired[Literal["directory"]]


class GradientNorm(TypedDict):
    """
    ||dL/dW||_F, summed over batches: what the paper's estimate converges to, without noise.
    """

    kind: NotRequired[Literal["gradient-norm"]]
    samples: NotRequired[int]


class HarnessTask(TypedDict):
    """
    One task of a harness, by its name.
    """

    batch_size: NotRequired[int]
    harness: Literal["lm-eval", "lmms-eval"]
    limit: NotRequired[int | None]
    task: str


class Health(TypedDict):
    """
    `ok`, or what is wrong, per dependency.
    """

    checks: dict[str, str]
    set_aside: NotRequired[dict[str, int]]
    status: str


class Issue(TypedDict):
    """
    One thing that is wrong with a request.
    """

    code: str
    detail: str
    parameter: NotRequired[str | None]
    pointer: NotRequired[str | None]
    row: NotRequired[str | None]


class JobChange(TypedDict):
    """
    Body of `PATCH /v1/jobs/{id}`; a field that is left out stays as it is.
    """

    labels: NotRequired[dict[str, str] | None]
    metadata: NotRequired[dict[str, Any] | None]
    priority: NotRequired[int | None]


class JobErrorOut(TypedDict):
    """
    Why a job failed.
    """

    code: str
    kind: FailureKind
    message: str


IgnoreItem: TypeAlias = str


Target: TypeAlias = str


JobStatus: TypeAlias = Literal[
    "queued", "running", "cancelling", "succeeded", "failed", "cancelled"
]


class L2Normalized(TypedDict):
    """
    |w| / ||W||_F: magnitude on the scale of its own matrix. Needs no data.
    """

    kind: NotRequired[Literal["l2-normalized"]]


class Lamp(TypedDict):
    """
    u_(i) / sum_{j >= i} u_(j), u = w^2 sorted (Lee et al., ICLR 2021, arXiv 2010.07611).

    Needs no data.
    """

    kind: NotRequired[Literal["lamp"]]


class LeastSquares(TypedDict):
    """
    They are solved for: the outputs of each matrix come as near to the dense ones as they can.

    For every matrix W, with X its inputs in the model as it is pruned so far and M the mask that
    the importance has chosen, V = V * M minimises ||(W - V) X||^2. Any mask will do. Block after
    block, so that errors of earlier blocks are seen by later ones, and made up for where the
    objective is what the dense model gives.
    """

    damping: NotRequired[float]
    kind: NotRequired[Literal["least-squares"]]
    objective: NotRequired[Literal["pruned-inputs", "dense-inputs", "mixed"]]
    steps: NotRequired[int]
    target_dampings: NotRequired[list[TargetDamping]]


class LeftDense(TypedDict):
    """
    Tensors that differ in the numbers of their layers and experts alone.

    Attributes:
        name: of them all, with `*` for these numbers.
        tensors: how many there are.
        weights: in them, as far as the recipe does not reach them.
        reason: why it does not.
    """

    name: str
    reason: str
    tensors: int
    weights: int


class Lfs(TypedDict):
    """
    The content of a file; `oid` is its SHA-256.
    """

    oid: str
    pointerSize: NotRequired[int]
    size: int


class Limits(TypedDict):
    """
    What a project may use at a time.
    """

    artifact_bytes: NotRequired[int]
    queued_jobs: NotRequired[int]
    requests_per_minute: NotRequired[int]
    running_jobs: NotRequired[int]
    upload_bytes: NotRequired[int]


class LimitsChange(TypedDict):
    """
    Body of `PATCH /v1/projects/{id}`; a limit that is left out stays as it is.
    """

    artifact_bytes: NotRequired[int | None]
    queued_jobs: NotRequired[int | None]
    requests_per_minute: NotRequired[int | None]
    running_jobs: NotRequired[int | None]
    upload_bytes: NotRequired[int | None]


class LocalModelOut(TypedDict):
    """
    A model on the service's machines.
    """

    name: str


class Magnitude(TypedDict):
    """
    |w|. Needs no data.
    """

    kind: NotRequired[Literal["magnitude"]]


class Measured(TypedDict):
    """
    One metric, dense and pruned.

    Attributes:
        samples: records (for recall: queries) that were scored.
        change: after - before, paired by record.
    """

    after: Estimate
    before: Estimate
    change: Estimate
    samples: int


class MemoryOut(TypedDict):
    """
    Bytes, by what takes them. Stages do not coincide: the largest counts.
    """

    libraries: int
    stages: dict[str, int]
    weights: int


MetricName: TypeAlias = Literal[
    "perplexity",
    "accuracy",
    "classification",
    "text_recall@1",
    "text_recall@5",
    "image_recall@1",
    "image_recall@5",
    "similarity",
    "kl",
    "agreement",
]


Modality: TypeAlias = Literal["vision", "audio", "bridge", "text", "fusion", "language"]


class NM(TypedDict):
    """
    N:M pattern: of every m consecutive inputs of an output row, n are kept (2:4, 4:8, 1:4).
    """

    kind: NotRequired[Literal["n:m"]]
    m: int
    n: int


class NoReconstruction(TypedDict):
    """
    They stay as they are, or as the importance left them.
    """

    kind: NotRequired[Literal["none"]]


class NotMeasured(TypedDict):
    """
    Why there is no report; the result itself is as good as any.

    Attributes:
        code: `measuring_no_inputs` where the checkpoint has no tokenizer or processor to make some
            with, `measuring_timed_out` where no round was done in time.
        reason: in words.
    """

    code: Literal[
        "measuring_failed", "measuring_no_inputs", "measuring_out_of_memory", "measuring_timed_out"
    ]
    reason: str


class Objective(TypedDict):
    """
    What makes one member of a sweep the best.
    """

    max_drop: NotRequired[float | None]
    metric: MetricName


Phase: TypeAlias = Literal[
    "loading",
    "calibrating",
    "pruning",
    "mining",
    "training",
    "evaluating",
    "exporting",
    "verifying",
    "measuring",
    "publishing",
]


class PlannedMatrixOut(TypedDict):
    """
    One matrix the job would prune.
    """

    file_key: str
    modality: Modality
    name: str
    shape: tuple[int, int]
    sparsity: float | None


class PlannedRoutingOut(TypedDict):
    """
    What a router may decide; null where config.json does not tell.
    """

    layers: int | None
    may_skip: list[int] | None
    protected: list[int] | None
    run: int | None


class PolicyReport(TypedDict):
    """
    How near to the dense answers a way to decide stays.

    Attributes:
        kl: KL(dense || pruned), mean over the answer's tokens, in nats.
        agreement: share of the answer's tokens ranked first by both.
        exact: share of greedy answers that are the dense ones.
        kl_over_router: its KL less the router's, paired by record; None for the router.
    """

    agreement: Estimate
    exact: Estimate
    kl: Estimate
    kl_over_router: NotRequired[Estimate | None]


class Pooled(TypedDict):
    """
    One threshold over all matrices of a pool; matrices inside it end at different sparsities.
    """

    by: NotRequired[Literal["importance", "magnitude"]]
    kind: NotRequired[Literal["pooled"]]
    pool: NotRequired[Literal["global", "modality"]]


class Problem(TypedDict):
    """
    Why a request was refused (RFC 9457).
    """

    code: str
    detail: str
    errors: NotRequired[list[Issue] | None]
    status: int
    title: str
    type: str


class ProfileReport(TypedDict):
    """
    What a profile of the artifact leaves, and what that costs.

    Attributes:
        tokens: share of the image tokens kept.
        layers: decoder layers that run.
        drop_layer: image tokens leave before this layer.
        flops_ratio: as in the whole report.
        cached_ratio: cached positions over all layers after a typical prompt, over the dense
            model's.
    """

    cached_ratio: float
    drop_layer: int
    flops_ratio: float
    layers: int
    tokens: float


class ProjectEntry(TypedDict):
    """
    One project among all.
    """

    artifact_bytes: int
    created_at: str
    id: str
    limits: Limits
    name: str


class ProjectList(TypedDict):
    """
    All projects, newest first.
    """

    projects: list[ProjectEntry]


class ProjectRequest(TypedDict):
    """
    Body of `POST /v1/projects`.
    """

    limits: NotRequired[Limits]
    name: str


PublicationState: TypeAlias = Literal["pending", "published", "failed"]


class PublishRequest(TypedDict):
    """
    Where a job's files go on success.
    """

    destination: str
    target: str


class QualityGate(TypedDict):
    """
    How much worse a model may get before its job ends as failed.
    """

    keep_artifacts: NotRequired[bool]
    max_drop: float
    metric: MetricName


class QuantizationReport(TypedDict):
    """
    The matrices that are stored in 8 bits.

    Attributes:
        kind: int8 or fp8.
        matrices: how many there are.
        weights: in them.
        zeros: of these, in the files.
        rounded_to_zero: weights that pruning had kept, and that are too small for 8 bits.
        rounded: these by tensor of the files, without those that have none; in
            pruning_report.json alone.
        block_share: share of the weights in blocks that all these are; None in a plan.
        bytes: of the matrices with their scales.
        bytes_before: of the same in the type that the model is stored in.
        left: linear layers that stay as they are: heads, projectors, routers; None in a plan.
    """

    block_share: NotRequired[float | None]
    bytes: int
    bytes_before: int
    kind: Literal["int8", "fp8"]
    left: NotRequired[int | None]
    matrices: int
    rounded: NotRequired[dict[str, int]]
    rounded_to_zero: NotRequired[int | None]
    weights: int
    zeros: NotRequired[int | None]


class Random(TypedDict):
    """
    Uniform in [0, 1), drawn by the recipe's seed. Needs no data.
    """

    kind: NotRequired[Literal["random"]]


class Ratio(TypedDict):
    """
    Median over rounds of result / dense, with its interval.
    """

    high: float
    low: float
    value: float


class Recovery(TypedDict):
    """
    What is left of the weights is trained towards the dense model; weights that went stay zero.

    What comes out on calibration batches held out decides which rate is taken, and whether the
    weights are kept as they were.
    """

    learning_rate: NotRequired[float | None]
    scope: NotRequired[Literal["block", "model"] | None]
    steps: NotRequired[int]


class Ref(TypedDict):
    """
    A branch or a tag.
    """

    name: str
    ref: str
    targetCommit: str


class Refs(TypedDict):
    """
    What commits go by.
    """

    branches: list[Ref]
    converts: NotRequired[list[Ref]]
    tags: list[Ref]


class RetiredOut(TypedDict):
    """
    What became of the jobs that waited for the class.
    """

    failed: list[str]
    moved: list[str]


class Reused(TypedDict):
    """
    The scores an earlier job has measured.
    """

    job: str
    kind: NotRequired[Literal["reused"]]


class Rotation(TypedDict):
    """
    Body of `POST /v1/keys/{id}/rotate`.
    """

    grace_seconds: NotRequired[int]


class RoundReport(TypedDict):
    """
    One round of mining and training.

    Attributes:
        pairs: preference pairs whose two decisions differ.
        best: mean KL to the dense answers of each prompt's best candidate, in nats.
        worst: of its worst.
        losses: mean training loss of each epoch.
        held_out_kl: of the router after this round, on the records that choose among the rounds.
    """

    best: float
    held_out_kl: float
    losses: list[float]
    pairs: int
    worst: float


class RoutingGate(TypedDict):
    """
    Whether the router is shown to beat what needs no training, at the same budget.

    Attributes:
        beaten: baselines whose KL less the router's has a paired 95 % interval above zero.
        unbeaten: the others, worse or not to be told apart; none may be left.
        records: that judged.
        needed: so many at least.
        allow_no_improvement: the job asked to succeed regardless.
    """

    allow_no_improvement: bool
    beaten: list[str]
    needed: NotRequired[int]
    records: int
    unbeaten: list[str]


class RuntimeSupport(TypedDict):
    """
    What one runtime makes of the result, beside the dense model; None is: not checked.

    Attributes:
        runtime: its name.
        version: of it, with which such a result of such a model was checked.
        loads: whether it loads.
        smaller: whether its weights take less memory in use.
        faster: whether it takes less time.
    """

    faster: NotRequired[bool | None]
    loads: NotRequired[bool | None]
    runtime: str
    smaller: NotRequired[bool | None]
    version: NotRequired[str | None]


class SampleAnswer(TypedDict):
    """
    What was said to one record; long texts are cut.

    Attributes:
        record: number of the record in the evaluation, from 1.
        prompt: what was asked.
        expected: the answer of the record.
        dense: the dense model's answer.
        pruned: the pruned model's answer.
    """

    dense: str
    expected: str
    prompt: str
    pruned: str
    record: int


Scope: TypeAlias = Literal["read", "submit", "admin"]


class Shapes(TypedDict):
    """
    What the models were run on.

    Attributes:
        batch: rows.
        tokens: of a row's prompt, those of the image included; 0 where the model reads no text.
        image_tokens: of these; 0 where the image has no places among them.
        image: width and height in pixels before preprocessing; None without one.
        answer: tokens written after the prompt; 0 where the model writes none.
    """

    answer: int
    batch: int
    image: tuple[int, int] | None
    image_tokens: int
    tokens: int


class Sibling(TypedDict):
    """
    A file of a repository.
    """

    rfilename: str


class Sizes(TypedDict):
    """
    What a checkpoint weighs.

    Attributes:
        dense: bytes of the safetensors files.
        packed: bytes that a packed download sends in their place.
        elements: of all tensors; types of less than a byte are counted in bytes.
        nonzeros: elements with a bit that is set.
    """

    dense: NotRequired[int]
    elements: NotRequired[int]
    nonzeros: NotRequired[int]
    packed: NotRequired[int]


class Snip(TypedDict):
    """
    |g * w|, g the gradient of the loss (Lee et al., ICLR 2019, arXiv 1810.02340, eq. 4).
    """

    kind: NotRequired[Literal["snip"]]
    stages: NotRequired[int]


class SparseGPT(TypedDict):
    """
    Optimal brain surgeon with a shared Hessian (Frantar and Alistarh, arXiv 2301.00774).
    """

    block_size: NotRequired[int]
    damping: NotRequired[float]
    kind: NotRequired[Literal["sparsegpt"]]


SweepStatus: TypeAlias = Literal[
    "queued", "running", "cancelling", "succeeded", "failed", "cancelled"
]


class TaskFailure(TypedDict):
    """
    Why a task has no figures; the result itself is as good as any.

    Attributes:
        code: `task_not_offered` where this worker has no such harness (any more).
        reason: in words.
    """

    code: Literal[
        "task_failed",
        "task_model_unsupported",
        "task_not_offered",
        "task_out_of_memory",
        "task_timed_out",
    ]
    harness: Literal["lm-eval", "lmms-eval"]
    reason: str
    task: str


class TaskScore(TypedDict):
    """
    A figure as the harness gives it.

    Attributes:
        value: None where it is no finite number.
        stderr: standard error; None where the harness knows none.
    """

    stderr: NotRequired[float | None]
    value: float | None


class Timing(TypedDict):
    """
    A time of both models in seconds, medians over rounds, and what became of it.
    """

    dense: float
    ratio: Ratio
    result: float


class TokensAndLayers(TypedDict):
    """
    How many image tokens and decoder layers a request keeps.
    """

    kind: NotRequired[Literal["tokens-and-layers"]]
    layers: NotRequired[float]
    tokens: NotRequired[float]


class TowerStructure(TypedDict):
    """
    One tower before and after; widths are those of its MLPs, None where they stay as they are.

    Of experts, operations count those that a token is routed to.

    Attributes:
        name: of the stack of blocks, as the model or its files name it.
        modality: the part of the model.
        blocks: how many there were.
        blocks_kept: how many there are.
        width: channels between the two layers of its MLPs.
        width_kept: those that are left.
        experts: in each of its mixtures; None where it has none.
        experts_kept: those that are left.
        parameters: of its blocks.
        parameters_kept: those that are left.
        bytes: of these, as they are stored.
        bytes_kept: those that are left.
        flops: multiplications and additions of its matrices for one token, attention itself apart.
        flops_kept: those that are left.
        tokens: of one input that pass through it: those of an image as large as config.json says,
            of a text of 512 tokens, or of both.
    """

    blocks: int
    blocks_kept: int
    bytes: int
    bytes_kept: int
    experts: NotRequired[int | None]
    experts_kept: NotRequired[int | None]
    flops: int
    flops_kept: int
    modality: Modality
    name: str
    parameters: int
    parameters_kept: int
    tokens: NotRequired[int]
    width: NotRequired[int | None]
    width_kept: NotRequired[int | None]


class Tried(TypedDict):
    """
    One share that was tried.

    Attributes:
        axis: what the share is of.
        sparsity: of zeros that was asked for, in all or in the modality; None of structure.
        removed: largest share of structure that was to go; None of zeros.
        parameters: that were left, where structure went.
        value: the gate's metric of the pruned model.
        drop: how much worse the metric got.
        at_worst: upper end of its 95 % interval, paired by record; this decides.
        qualifies: whether that is within what the gate allows here.
    """

    at_worst: float
    axis: NotRequired[Literal["structure", "sparsity"] | Modality]
    drop: float
    parameters: NotRequired[int | None]
    qualifies: bool
    removed: NotRequired[float | None]
    sparsity: NotRequired[float | None]
    value: float


class Uniform(TypedDict):
    """
    Every matrix gets the target sparsity.
    """

    kind: NotRequired[Literal["uniform"]]
    rounding: NotRequired[Literal["total", "paper"]]


class Unstructured(TypedDict):
    """
    Any weight may go; scores are compared inside a row or inside a whole matrix.
    """

    group: NotRequired[Literal["row", "matrix"]]
    kind: NotRequired[Literal["unstructured"]]


class Usage(TypedDict):
    """
    What a project uses of its limits.
    """

    artifact_bytes: int
    queued_jobs: int
    running_jobs: int


class VersionOut(TypedDict):
    """
    One version of a model.
    """

    created_at: str
    job_id: str
    name: str
    revision: str
    version: int


class VersionRequest(TypedDict):
    """
    Body of `POST /v1/models/{name}/versions`.
    """

    job_id: str


class Wanda(TypedDict):
    """
    |w_ij| * ||x_j||_2 (Sun et al., ICLR 2024, arXiv 2306.11695, eq. 1).
    """

    kind: NotRequired[Literal["wanda"]]
    sequential: NotRequired[bool]


WebhookEvent: TypeAlias = Literal[
    "job.queued",
    "job.running",
    "job.cancelling",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "sweep.queued",
    "sweep.running",
    "sweep.cancelling",
    "sweep.succeeded",
    "sweep.failed",
    "sweep.cancelled",
    "webhook.disabled",
]


class WebhookOut(TypedDict):
    """
    One endpoint, without its secret.
    """

    created_at: str
    disabled_reason: str | None
    enabled: bool
    events: list[WebhookEvent]
    failing_since: str | None
    id: str
    last_error: str | None
    state: EndpointState
    url: str


class WebhookRequest(TypedDict):
    """
    Body of `POST /v1/webhooks`.
    """

    events: NotRequired[list[WebhookEvent]]
    url: str


class Width(TypedDict):
    """
    Fewer channels between the two layers of every MLP, or fewer heads; the same in a tower.

    The projection that reads what stays is solved for again on it.
    """

    damping: NotRequired[float]
    heads_removed: NotRequired[float | dict[Modality, float]]
    kind: NotRequired[Literal["width"]]
    mlp_removed: NotRequired[float | dict[Modality, float]]
    multiple: NotRequired[int | None]
    score: NotRequired[Literal["auto", "energy", "variance", "obs", "magnitude"]]
    solve: NotRequired[bool]


class WorkerClassOut(TypedDict):
    """
    The workers that listen on one queue, as the last of them that started has measured.
    """

    cores: int
    device: Literal["cpu", "cuda"]
    device_bytes: int | None
    devices: int
    disk_rate: float
    gflops: float
    libraries: list[str]
    measured_at: str
    memory_bytes: int
    name: str
    seen_at: str
    tasks: list[str]


WorkerState: TypeAlias = Literal["busy", "idle", "silent"]


class ZerothOrder(TypedDict):
    """
    |L(W + eps Z) - L(W - eps Z)| / (2 eps), Z ~ N(0, 1), summed over batches: the paper's.
    """

    draws: NotRequired[int]
    epsilon: NotRequired[float]
    kind: NotRequired[Literal["zeroth-order"]]
    samples: NotRequired[int]


Structure: TypeAlias = Width | Depth | Experts


class AllocationScores(TypedDict):
    """
    Scores batch by batch, so that parts of a run can be merged and errors can be told.

    Attributes:
        estimator: what was measured, with its settings.
        seed: of the draws, where there were any.
        batches: indices of the calibration batches, ascending.
        values: matrix name -> one score per batch, in the order of `batches`.
        outside: matrices the loss does not depend on (a block whose output nothing reads).
    """

    batches: list[int]
    estimator: GradientNorm | ZerothOrder | FirstOrder | Density
    outside: NotRequired[list[str]]
    seed: int
    values: dict[str, list[float]]


class ArtifactList(TypedDict):
    """
    All published files of a job.
    """

    artifacts: list[ArtifactOut]


class DeliveryOut(TypedDict):
    """
    One message to an endpoint.
    """

    attempts: int
    created_at: str
    event: WebhookEvent
    id: str
    last_error: str | None
    last_status: int | None
    next_at: str | None
    payload: dict[str, Any]
    state: DeliveryState


class DeliveryPage(TypedDict):
    """
    Deliveries, newest first.
    """

    deliveries: list[DeliveryOut]
    next_cursor: str | None


class ECoFLaP(TypedDict):
    """
    Blocks the loss depends on keep more (Sung et al., ICLR 2024, arXiv 2310.02998).

    keep_i = min(n_i, n_i (1 - max_sparsity) + lambda s_i), lambda such that the budget is met.
    """

    aggregate: NotRequired[Literal["sum", "avg"]]
    budget: NotRequired[Literal["model", "modality"]]
    granularity: NotRequired[Literal["block", "matrix", "tower"]]
    kind: NotRequired[Literal["ecoflap"]]
    max_sparsity: NotRequired[float | None]
    rounding: NotRequired[Literal["total", "paper"]]
    scores: NotRequired[GradientNorm | ZerothOrder | FirstOrder | Density | Reused]


class EvaluationSpec(TypedDict):
    """
    On which records a model is judged, and by what; and by which tasks of harnesses.
    """

    batch_size: NotRequired[int]
    max_length: NotRequired[int]
    max_new_tokens: NotRequired[int]
    metrics: NotRequired[list[MetricName]]
    sample_answers: NotRequired[int | None]
    samples: NotRequired[int]
    seed: NotRequired[int]
    set: NotRequired[str | None]
    tasks: NotRequired[list[HarnessTask]]


class EventOut(TypedDict):
    """
    One entry of a job's event log.
    """

    at: str
    attempt: int
    data: dict[str, Any]
    id: int
    level: EventLevel
    message: str
    type: EventType


class EventPage(TypedDict):
    """
    Events, oldest first; ask again with `after` = the last id.
    """

    events: list[EventOut]


class FileEntry(TypedDict):
    """
    A file of a tree. All are told as large files, so that their identity is the SHA-256.
    """

    lfs: Lfs
    oid: str
    path: str
    size: int
    type: NotRequired[Literal["file"]]


class GateReport(TypedDict):
    """
    What came of the gate; `drop` is how much worse the metric got.
    """

    drop: float
    keep_artifacts: NotRequired[bool]
    max_drop: float
    metric: MetricName
    passed: bool


class KeyOut(TypedDict):
    """
    One API key, without its secret.
    """

    created_at: str
    expires_at: str | None
    id: str
    last_used_at: str | None
    name: str
    revoked_at: str | None
    scope: Scope


class KeyRequest(TypedDict):
    """
    Body of `POST /v1/keys`.
    """

    expires_at: NotRequired[str | None]
    name: str
    scope: NotRequired[Scope]


Structures: TypeAlias = Width | Depth | Experts


class Ladder(TypedDict):
    """
    The shares of one thing, of which the largest within the quality gate is wanted.

    Attributes:
        axis: what the shares are of.
        step: shares are multiples of it, up to `most`; those of structure are given one by one.
        removed: shares of structure, rising.
        structures: what goes at each of these.
    """

    axis: NotRequired[Literal["structure", "sparsity"] | Modality]
    most: NotRequired[float]
    removed: NotRequired[list[float]]
    step: NotRequired[float]
    structures: NotRequired[list[list[Structures]]]


class LocalModelList(TypedDict):
    """
    Local models under the allowed roots, at most a thousand of a root and level, by name.
    """

    models: list[LocalModelOut]


class ModelInfo(TypedDict):
    """
    A repository at one commit.
    """

    disabled: NotRequired[bool]
    downloads: NotRequired[int]
    gated: NotRequired[bool]
    id: str
    likes: NotRequired[int]
    modelId: str
    private: NotRequired[bool]
    sha: str
    siblings: list[Sibling]
    tags: NotRequired[list[str]]


class ModelPage(TypedDict):
    """
    The newest version of each model, by name.
    """

    models: list[VersionOut]
    next_cursor: str | None


class NewKeyOut(TypedDict):
    """
    A key that was just made.
    """

    key: KeyOut
    secret: str


class NewProjectOut(TypedDict):
    """
    A project that was just made, with a key that may do everything in it.
    """

    key: KeyOut
    project: ProjectEntry
    secret: str


class NewWebhookOut(TypedDict):
    """
    An endpoint with a secret that was just made.
    """

    secret: str
    webhook: WebhookOut


class PerformanceReport(TypedDict):
    """
    What was measured.

    Attributes:
        device: both models ran on: cpu, cuda:0.
        threads: of the CPU.
        dtype: of the result's weights in use.
        shapes: of the inputs.
        rounds: in which each model ran once.
        confidence: of every interval, 0 to 1; by the number of rounds alone.
        together: whether both models were in memory at a time; else each was loaded anew for every
            round, for want of memory.
        bytes: parameters and buffers once the model has run.
        peak_bytes: most memory of a process that loads the model and runs it; on a GPU, what the
            model and its work took of the GPU's.
        seconds: `prefill` from the prompt to the first token, `decode` of each further token;
            `encode` of one forward where the model writes nothing.
    """

    bytes: Amount
    confidence: float
    device: str
    dtype: str
    peak_bytes: Amount
    rounds: int
    seconds: dict[Literal["prefill", "decode", "encode"], Timing]
    shapes: Shapes
    threads: int
    together: bool


class ProjectOut(TypedDict):
    """
    The project that the key belongs to.
    """

    created_at: str
    id: str
    limits: Limits
    name: str
    usage: Usage


class PublicationOut(TypedDict):
    """
    One job on its way to one destination.
    """

    attempts: int
    created_at: str
    destination: str
    id: str
    last_error: str | None
    next_at: str | None
    state: PublicationState
    target: str
    url: str | None


class Recipe(TypedDict):
    """
    The complete description of one pruning run, model and data aside.
    """

    allocation: NotRequired[Uniform | Pooled | ECoFLaP]
    allow_unmatched: NotRequired[bool]
    expert_tokens: NotRequired[int]
    ignore: NotRequired[list[IgnoreItem]]
    importance: NotRequired[
        Admm | Chita | Flow | L2Normalized | Lamp | Magnitude | Random | Snip | SparseGPT | Wanda
    ]
    include_bridge: NotRequired[bool]
    kind: NotRequired[Literal["weights"]]
    pattern: NotRequired[Unstructured | NM]
    preset: NotRequired[str | None]
    quantization: NotRequired[Literal["int8", "fp8"] | None]
    reconstruction: NotRequired[NoReconstruction | LeastSquares]
    recovery: NotRequired[Recovery | None]
    seed: NotRequired[int]
    sparsity: float | dict[Modality, float]
    split_qkv: NotRequired[bool]
    structure: NotRequired[list[Structure]]
    targets: NotRequired[list[Target]]
    walk: NotRequired[Literal["two-pass", "one-pass"]]


class RecipeOptions(TypedDict):
    """
    The fields of a request that are about the recipe.
    """

    allow_unmatched: NotRequired[bool]
    expert_tokens: NotRequired[int]
    ignore: NotRequired[list[IgnoreItem]]
    include_bridge: NotRequired[bool]
    pattern: NotRequired[str]
    quantization: NotRequired[Literal["int8", "fp8"] | None]
    reconstruction: NotRequired[NoReconstruction | LeastSquares]
    recovery: NotRequired[Recovery | None]
    seed: NotRequired[int]
    split_qkv: NotRequired[bool]
    structure: NotRequired[list[Structure]]
    target_flops_ratio: NotRequired[float | None]
    target_parameters: NotRequired[float | int | Literal["auto"] | None]
    targets: NotRequired[list[Target]]


class RecipeParts(TypedDict):
    """
    What is pruned how, whatever the target: any parts that make sense together.
    """

    allocation: NotRequired[Uniform | Pooled | ECoFLaP]
    importance: NotRequired[
        Admm | Chita | Flow | L2Normalized | Lamp | Magnitude | Random | Snip | SparseGPT | Wanda
    ]
    pattern: NotRequired[Unstructured | NM]
    preset: NotRequired[str | None]
    reconstruction: NotRequired[NoReconstruction | LeastSquares]
    recovery: NotRequired[Recovery | None]
    structure: NotRequired[list[Structure]]
    walk: NotRequired[Literal["two-pass", "one-pass"]]


class Routing(TypedDict):
    """
    The complete description of one PAR run, model and data aside.
    """

    allow_no_improvement: NotRequired[bool]
    answer_tokens: NotRequired[int]
    budget: TokensAndLayers | FlopsRatio
    candidates: NotRequired[int]
    coverage_floor: NotRequired[float]
    drop_layer: NotRequired[int]
    epochs: NotRequired[int]
    held_out: NotRequired[float]
    kind: NotRequired[Literal["routing"]]
    learning_rate: NotRequired[float | None]
    noise: NotRequired[float]
    rounds: NotRequired[int]
    router: NotRequired[Literal["slim", "full"]]
    seed: NotRequired[int]
    static_export: NotRequired[bool]


class RoutingFigures(TypedDict):
    """
    What the run came to, in figures.

    Attributes:
        tokens: share of the image tokens kept at the budget.
        layers: decoder layers that run at the budget.
        of_layers: all of them.
        flops_ratio: operations of the decoder's layers on a typical prompt, router included, over
            the dense model's.
        typical_prompt: text and image tokens of that prompt.
        records: how many trained the router, chose among its rounds, and judged it.
        chosen: number of the round that was taken, from 0.
        profiles: of the artifact, by name; `asked` is the job's own budget.
        policies: on the judging records; the first is the router.
    """

    chosen: int
    flops_ratio: float
    gate: RoutingGate
    layers: int
    of_layers: int
    policies: dict[str, PolicyReport]
    profiles: dict[str, ProfileReport]
    records: dict[str, int]
    rounds: list[RoundReport]
    tokens: float
    typical_prompt: dict[str, int]


class Search(TypedDict):
    """
    Ladders that are climbed one after the other.

    The first of two may use half of the drop that the gate allows, the second all of it: what one
    has used up, the other cannot have.
    """

    ladders: list[Ladder]


class SearchReport(TypedDict):
    """
    What a search saw, each ladder's shares in ascending order.

    Attributes:
        found: the share that the last ladder's axis has in the result; None where none is good.
        chosen: the shares of all axes there; empty where none is good.
    """

    chosen: NotRequired[dict[str, float]]
    found: float | None
    max_drop: float
    metric: MetricName
    tried: list[Tried]


class StandingOut(TypedDict):
    """
    One job of a sweep, in figures; null where there is none (yet).
    """

    bytes: int | None
    drop: float | None
    error_code: str | None
    job_id: str
    method: str
    recipe: Recipe | Routing
    seconds: float | None
    sparsity: float | None
    status: JobStatus
    time_ratio: float | None
    value: float | None
    weights_ratio: float | None


class StructureReport(TypedDict):
    """
    What was taken out.

    Attributes:
        towers: those that became smaller, and those that did not.
        blocks: what was decided, block by block, in execution order.
        removed: names of the blocks that were left out.
        parameters: of the whole model before.
        parameters_kept: after.
        bytes: of all weights before, as they are stored.
        bytes_kept: after.
    """

    blocks: NotRequired[list[BlockStructure]]
    bytes: int
    bytes_kept: int
    parameters: int
    parameters_kept: int
    removed: NotRequired[list[str]]
    towers: list[TowerStructure]


class TaskMetric(TypedDict):
    """
    One metric of a task, of both models.
    """

    after: TaskScore
    before: TaskScore
    higher_is_better: NotRequired[bool | None]


class TaskReport(TypedDict):
    """
    What a task came to.

    Attributes:
        harness_version: of its package.
        task_version: as the task's file says; None where it does not.
        samples: records that both models were asked.
        metrics: by name; one of a filter of the harness has that behind a comma.
    """

    harness: Literal["lm-eval", "lmms-eval"]
    harness_version: str
    metrics: dict[str, TaskMetric]
    samples: int
    task: str
    task_version: str | None


class VersionList(TypedDict):
    """
    All versions of a model, newest first.
    """

    versions: list[VersionOut]


class WebhookChange(TypedDict):
    """
    Body of `PATCH /v1/webhooks/{id}`; a field that is left out stays as it is.
    """

    enabled: NotRequired[bool | None]
    events: NotRequired[list[WebhookEvent] | None]
    url: NotRequired[str | None]


class WebhookList(TypedDict):
    """
    The project's endpoints, newest first.
    """

    webhooks: list[WebhookOut]


class WorkerOut(TypedDict):
    """
    One worker process.
    """

    cores: int
    device: Literal["cpu", "cuda"]
    device_bytes: int | None
    devices: int
    job_id: str | None
    memory_bytes: int
    name: str
    seen_at: str
    started_at: str
    state: WorkerState
    versions: dict[str, str]
    worker_class: str


class JobOptions(TypedDict):
    """
    Body of `POST /v1/jobs`.
    """

    allow_unmatched: NotRequired[bool]
    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    expert_tokens: NotRequired[int]
    ignore: NotRequired[list[IgnoreItem]]
    include_bridge: NotRequired[bool]
    labels: NotRequired[dict[str, str]]
    max_pending_seconds: NotRequired[int | None]
    max_runtime_seconds: NotRequired[int | None]
    measure: NotRequired[bool]
    metadata: NotRequired[dict[str, Any]]
    method: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    pattern: NotRequired[str]
    priority: NotRequired[int]
    publish: NotRequired[list[PublishRequest]]
    publish_as: NotRequired[str | None]
    quality_gate: NotRequired[QualityGate | None]
    quantization: NotRequired[Literal["int8", "fp8"] | None]
    recipe: NotRequired[RecipeParts | None]
    reconstruction: NotRequired[NoReconstruction | LeastSquares]
    recovery: NotRequired[Recovery | None]
    seed: NotRequired[int]
    sparsity: NotRequired[float | dict[Modality, float | Literal["auto"]] | Literal["auto"] | None]
    split_qkv: NotRequired[bool]
    structure: NotRequired[list[Structure]]
    target_flops_ratio: NotRequired[float | None]
    target_parameters: NotRequired[float | int | Literal["auto"] | None]
    targets: NotRequired[list[Target]]
    worker_class: NotRequired[str | None]


class SweepOptions(TypedDict):
    """
    Body of `POST /v1/sweeps`. Labels, priority and time limits are those of every member.
    """

    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    labels: NotRequired[dict[str, str]]
    max_pending_seconds: NotRequired[int | None]
    max_runtime_seconds: NotRequired[int | None]
    measure: NotRequired[bool]
    metadata: NotRequired[dict[str, Any]]
    objective: NotRequired[Objective | None]
    priority: NotRequired[int]
    quality_gate: NotRequired[QualityGate | None]
    recipes: NotRequired[list[RecipeOptions]]
    sparsities: NotRequired[list[float | dict[Modality, float]]]
    worker_class: NotRequired[str | None]


class EvaluationReport(TypedDict):
    """
    The evaluation of one run.

    Attributes:
        set: name of the data set.
        sha256: digest of the records used, in order.
        samples: how many there were.
        gate: None where no gate was set.
        warnings: metrics that say little or nothing on these records, and why.
        answers: those to the first records, where accuracy was measured.
    """

    answers: NotRequired[list[SampleAnswer]]
    gate: NotRequired[GateReport | None]
    metrics: dict[MetricName, Measured]
    samples: int
    set: str
    sha256: str
    warnings: NotRequired[list[str]]


class JobRequest(TypedDict):
    """
    Body of `POST /v1/jobs`.
    """

    allow_unmatched: NotRequired[bool]
    calibration: NotRequired[CalibrationSpec]
    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    evaluation: NotRequired[EvaluationSpec | None]
    expert_tokens: NotRequired[int]
    ignore: NotRequired[list[IgnoreItem]]
    include_bridge: NotRequired[bool]
    labels: NotRequired[dict[str, str]]
    max_pending_seconds: NotRequired[int | None]
    max_runtime_seconds: NotRequired[int | None]
    measure: NotRequired[bool]
    metadata: NotRequired[dict[str, Any]]
    method: NotRequired[str]
    model: str
    parameters: NotRequired[dict[str, Any]]
    pattern: NotRequired[str]
    priority: NotRequired[int]
    publish: NotRequired[list[PublishRequest]]
    publish_as: NotRequired[str | None]
    quality_gate: NotRequired[QualityGate | None]
    quantization: NotRequired[Literal["int8", "fp8"] | None]
    recipe: NotRequired[RecipeParts | None]
    reconstruction: NotRequired[NoReconstruction | LeastSquares]
    recovery: NotRequired[Recovery | None]
    seed: NotRequired[int]
    sparsity: NotRequired[float | dict[Modality, float | Literal["auto"]] | Literal["auto"] | None]
    split_qkv: NotRequired[bool]
    structure: NotRequired[list[Structure]]
    target_flops_ratio: NotRequired[float | None]
    target_parameters: NotRequired[float | int | Literal["auto"] | None]
    targets: NotRequired[list[Target]]
    worker_class: NotRequired[str | None]


class JobResult(TypedDict):
    """
    The figures of a job; those that its worker did not report are None, unknown ones are kept.

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

    difference: NotRequired[int | None]
    evaluation: NotRequired[EvaluationReport | None]
    modalities: NotRequired[dict[str, float] | None]
    model_sparsity: NotRequired[float | None]
    performance: NotRequired[PerformanceReport | NotMeasured | EarlierFigures | None]
    quantization: NotRequired[QuantizationReport | EarlierFigures | None]
    reached: NotRequired[float | None]
    reached_blocks: NotRequired[float | None]
    routing: NotRequired[RoutingFigures | EarlierFigures | None]
    runtime_support: NotRequired[list[RuntimeSupport] | None]
    search: NotRequired[SearchReport | EarlierFigures | None]
    seconds: NotRequired[float | None]
    sizes: NotRequired[Sizes | None]
    sparsity: NotRequired[float | None]
    structure: NotRequired[StructureReport | EarlierFigures | None]
    target: NotRequired[int | None]
    tasks: NotRequired[list[TaskReport | TaskFailure] | None]
    warnings: NotRequired[list[str]]
    weights: NotRequired[int | None]
    zeros: NotRequired[int | None]


class JobSpec(TypedDict):
    """
    A job as stored: everything that decides its result, with nothing left to look up.
    """

    calibration: CalibrationSpec | None
    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    evaluation: NotRequired[EvaluationSpec | None]
    measure: NotRequired[bool]
    method: str
    model: str
    quality_gate: NotRequired[QualityGate | None]
    recipe: Recipe | Routing
    scores: NotRequired[AllocationScores | None]
    search: NotRequired[Search | None]
    tasks: NotRequired[list[HarnessTask]]


class KeyList(TypedDict):
    """
    The project's keys, newest first.
    """

    keys: list[KeyOut]


class Leaderboard(TypedDict):
    """
    The jobs of a sweep, the best first; without a metric, in the order of their making.
    """

    metric: MetricName | None
    standings: list[StandingOut]


class MethodChoice(TypedDict):
    """
    A named method and how it is set, or the parts of a recipe.
    """

    method: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    recipe: NotRequired[RecipeParts | None]


class MethodOut(TypedDict):
    """
    One pruning method and its parameters as JSON Schema.
    """

    name: str
    needs_data: bool
    needs_gradient: bool
    paper: str
    parameters: dict[str, Any]
    prunes: Literal["weights", "routes", "structure"]
    recipe: RecipeParts | None
    summary: str
    updates_weights: bool


class PlanOut(TypedDict):
    """
    What a job would do; nothing was queued.
    """

    dense: list[LeftDense]
    evaluations: int
    matrices: list[PlannedMatrixOut]
    memory: MemoryOut | None
    memory_bytes: int | None
    model_sparsity: float | None
    model_weights: int
    packed_bytes: int
    phases: dict[Phase, float] | None
    quantization: QuantizationReport | None
    reached: float | None
    reached_blocks: float | None
    routing: PlannedRoutingOut | None
    seconds: float | None
    spec: JobSpec
    structure: StructureReport | None
    warnings: list[str]
    weights: dict[Modality, int]
    worker_class: str
    zeros: int


class PublicationList(TypedDict):
    """
    All publications of a job.
    """

    publications: list[PublicationOut]


class ResultOut(TypedDict):
    """
    How an ended job ended.
    """

    artifacts: list[ArtifactOut]
    error: JobErrorOut | None
    id: str
    result: JobResult | None
    status: JobStatus


class SweepRequest(TypedDict):
    """
    Body of `POST /v1/sweeps`. Labels, priority and time limits are those of every member.
    """

    calibration: NotRequired[CalibrationSpec]
    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    evaluation: NotRequired[EvaluationSpec | None]
    labels: NotRequired[dict[str, str]]
    max_pending_seconds: NotRequired[int | None]
    max_runtime_seconds: NotRequired[int | None]
    measure: NotRequired[bool]
    metadata: NotRequired[dict[str, Any]]
    methods: list[MethodChoice]
    model: str
    objective: NotRequired[Objective | None]
    priority: NotRequired[int]
    quality_gate: NotRequired[QualityGate | None]
    recipes: NotRequired[list[RecipeOptions]]
    sparsities: NotRequired[list[float | dict[Modality, float]]]
    worker_class: NotRequired[str | None]


class WorkerClassList(TypedDict):
    """
    Classes and processes.
    """

    processes: list[WorkerOut]
    workers: list[WorkerClassOut]


class JobOut(TypedDict):
    """
    One job.
    """

    attempt: int
    calibration: CalibrationSpec | None
    created_at: str
    device: NotRequired[str]
    dtype: NotRequired[Literal["auto", "float32", "bfloat16", "float16"]]
    error: JobErrorOut | None
    eta: str | None
    evaluation: NotRequired[EvaluationSpec | None]
    files_expired_at: str | None
    finished_at: str | None
    id: str
    labels: dict[str, str]
    max_attempts: int
    max_pending_seconds: int | None
    max_runtime_seconds: int | None
    measure: NotRequired[bool]
    memory_bytes: int | None
    metadata: dict[str, Any]
    method: str
    model: str
    phase: Phase | None
    priority: int
    progress: float
    quality_gate: NotRequired[QualityGate | None]
    recipe: Recipe | Routing
    result: JobResult | None
    search: NotRequired[Search | None]
    source_id: str | None
    started_at: str | None
    status: JobStatus
    sweep_id: str | None
    tasks: NotRequired[list[HarnessTask]]
    worker_class: str


class JobPage(TypedDict):
    """
    Jobs, newest first.
    """

    jobs: list[JobOut]
    next_cursor: str | None


class MethodList(TypedDict):
    """
    All methods.
    """

    methods: list[MethodOut]


class SweepOut(TypedDict):
    """
    One sweep. Its jobs: `GET /v1/jobs?sweep={id}`, or its leaderboard.
    """

    best_job_id: str | None
    created_at: str
    finished_at: str | None
    id: str
    jobs: dict[JobStatus, int]
    labels: dict[str, str]
    metadata: dict[str, Any]
    progress: float
    request: SweepRequest
    status: SweepStatus


class SweepPage(TypedDict):
    """
    Sweeps, newest first.
    """

    next_cursor: str | None
    sweeps: list[SweepOut]
