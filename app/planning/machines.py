"""What workers run on, as they measured it; which can take a job, and how long it takes.

Seconds are counted from the products a phase makes and the bytes it moves. A machine shared with
others, texts shorter than they may be and a cold file cache all move them: take them for the order
of magnitude.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.domain.jobs import Phase
from app.domain.submission import JobSpec
from app.errors import NotFoundError, UserError
from app.planning.memory import ModelLayout
from app.recipes.data import CalibrationSpec
from app.recipes.performance import ANSWER, BUDGET, PROMPT, ROUNDS
from app.recipes.recipe import Recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.structure import Depth, Width

# Workers give a sign of life once a minute; a class without one for this long has none, by all we
# know: they have been scaled to zero, or are gone.
SILENT = timedelta(minutes=5)

_EFFICIENCY = 0.7  # of a model's products, against one large product
_BACKWARD = 4.0  # forward passes that one with its backward costs, blocks run twice
_TRAINED = 3.0  # forward passes that one with its backward costs, blocks run once
_SKIPPED = 0.5  # what prefix caching leaves of a forward with one matrix shaken
_WALK = 2.0  # forward passes that a walk costs, blocks run twice
_SUMS_BESIDE = 1.0  # of the work of second moments, for those with the dense model's inputs
_CHOOSING = 1.2e-8  # seconds to choose and write one weight
_CHECKED = 4e8  # bytes read back, hashed and counted in a second
_START = 1.0  # seconds of every job: configuration, tokenizer, report
_RATE_FLOOR = 1e-9
_CHILD = 6.0  # seconds until a process has imported what loads a model


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of one worker; workers of a class are taken to be alike.

    Attributes:
        worker_class: the queue its workers listen on.
        memory_bytes: what a job may take of the host's memory.
        cores: a job computes on.
        device: what `auto` is.
        devices: number of GPUs.
        device_bytes: memory of the smallest of them; None without one.
        gflops: 1e9 float32 operations a second in a matrix product, on `device`.
        disk_rate: bytes a second when a file is written and read back.
        libraries: optional ones that it imports, of `torchvision` and `timm`.
    """

    worker_class: str
    memory_bytes: int
    cores: int
    device: Literal["cpu", "cuda"]
    devices: int
    device_bytes: int | None
    gflops: float
    disk_rate: float
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """A class with the machine that spoke for it last.

    Attributes:
        machine: the last that started.
        seen_at: a worker's last sign of life.
        measured_at: when the machine's rates were measured.
    """

    machine: Machine
    seen_at: datetime
    measured_at: datetime

    @property
    def silent(self) -> bool:
        """Whether its workers have not been heard of lately."""
        return datetime.now(UTC) - self.seen_at > SILENT

    def __str__(self) -> str:
        """When it was heard of, in words."""
        seen = self.seen_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"no worker of class {self.machine.worker_class!r} has been heard of since {seen}"


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a job asks for.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        worker_class: None where any will do.
        host_bytes: what it takes of a machine it computes on the CPU of; None where unknown.
        device_bytes: what it takes of a GPU.
        libraries: optional ones that its worker has to import.
        model_type: of its model, for messages.
    """

    device: str
    worker_class: str | None
    host_bytes: int | None
    device_bytes: int | None
    libraries: frozenset[str] = frozenset()
    model_type: str = ""

    def needs(self, machine: Machine) -> int | None:
        """Bytes it takes there."""
        return self.device_bytes if uses_gpu(machine, self.device) else self.host_bytes


def place(machines: Sequence[Machine], requirements: Requirements) -> Machine | None:
    """The machine that fits: of those with a GPU if the job may use one, the smallest.

    Args:
        machines: one of each class.
        requirements: of the job.

    Returns:
        None where no worker has ever started, so that nothing is known.

    Raises:
        UnknownWorkerClassError: no worker of the class asked for has ever started.
        NoWorkerError: no worker has the device.
        LibraryMissingError: none imports a library that the model needs.
        JobTooLargeError: the job fits none of them.
    """
    if requirements.worker_class is not None:
        machines = _of_class(machines, requirements.worker_class)
    elif not machines and not is_gpu(requirements.device):
        return None
    able = [machine for machine in machines if _has(machine, requirements.device)]
    if not able:
        raise NoWorkerError(_no_device(machines, requirements))
    able = _importing(able, requirements)
    fitting = [m for m in able if room(m, requirements.device) >= (requirements.needs(m) or 0)]
    if not fitting:
        nearest = min(
            able, key=lambda m: (requirements.needs(m) or 0) - room(m, requirements.device)
        )
        needed = gigabytes(requirements.needs(nearest) or 0)
        raise JobTooLargeError(
            f"the job needs about {needed} of memory; the worker "
            f"nearest to that, of class {nearest.worker_class!r}, has "
            f"{gigabytes(room(nearest, requirements.device))}. "
            "Take fewer or shorter calibration rows, a smaller batch, or start a larger worker"
        )
    return min(fitting, key=lambda machine: _rank(machine, requirements.device))


def room(machine: Machine, device: str) -> int:
    """Bytes a job on this device may take."""
    return (machine.device_bytes or 0) if uses_gpu(machine, device) else machine.memory_bytes


def uses_gpu(machine: Machine, device: str) -> bool:
    """Whether a job that asks for the device computes on a GPU there."""
    return machine.device == "cuda" and device != "cpu"


def gigabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB"


def _of_class(machines: Sequence[Machine], name: str) -> list[Machine]:
    found = [machine for machine in machines if machine.worker_class == name]
    if not found:
        known = ", ".join(sorted(machine.worker_class for machine in machines)) or "none"
        raise UnknownWorkerClassError(
            f"no worker of class {name!r} has ever started; known classes: {known}"
        )
    return found


def _has(machine: Machine, device: str) -> bool:
    return not is_gpu(device) or (machine.device == "cuda" and machine.devices > ordinal(device))


def _importing(machines: Sequence[Machine], requirements: Requirements) -> list[Machine]:
    """Those that import what the model needs."""
    found = [m for m in machines if requirements.libraries.issubset(m.libraries)]
    if not found:
        wanted = " and ".join(sorted(requirements.libraries))
        raise LibraryMissingError(
            f"models of the type {requirements.model_type!r} need {wanted} to load or to read "
            "images, and no worker imports it: install the extra `vision` beside a build of torch "
            "that it matches (the images of workers have it), or choose a method that needs no "
            "calibration data"
        )
    return found


def _no_device(machines: Sequence[Machine], requirements: Requirements) -> str:
    among = (
        f"of class {requirements.worker_class!r}" if requirements.worker_class else "of any class"
    )
    most = max((machine.devices for machine in machines), default=0)
    return (
        f"device {requirements.device!r} was asked for, and no worker {among} has it: "
        f"the most GPUs a worker has is {most}"
    )


def _rank(machine: Machine, device: str) -> tuple[bool, int, str]:
    """A GPU first where one may be used, last where it may not; then the smaller machine."""
    wasted = (machine.device == "cuda") == (device == "cpu")
    return wasted, room(machine, device), machine.worker_class


class UnknownWorkerClassError(UserError):
    """No worker of the class asked for has ever started."""

    code = "worker_class_unknown"


class WorkerClassNotFoundError(NotFoundError):
    """There is no worker class of that name."""

    code = "worker_class_not_found"


class NoWorkerError(UserError):
    """No worker has the device asked for."""

    code = "no_worker_for_device"


class LibraryMissingError(UserError):
    """The model, or its image processor, needs a library that no worker imports."""

    code = "library_missing"


class JobTooLargeError(UserError):
    """The job needs more memory than any worker has that could take it."""

    code = "job_too_large"


class MeasuringTooLargeError(UserError):
    """A worker could take the job, but none holds a whole model, which `measure` needs."""

    code = "measuring_too_large"


# Types whose image processors have no Pillow form in transformers.
TORCHVISION = frozenset(
    (
        *("chmv2", "cohere2_vision", "depth_pro", "dinov3_vit", "edgetam", "gemma4_unified"),
        *("inkling2", "inkling_mm_model", "kimi_k25", "lfm2_vl", "llama4", "minicpm_ocr"),
        *("minimax_m3_vl", "molmo2", "muse_glimmer", "muse_spark", "nemotron_h_omni", "neomme"),
        *("perception_lm", "phi4_multimodal", "pi0", "pp_doclayout_v2", "pp_doclayout_v3"),
        *("pp_doclayout_v4", "pp_formulanet", "pp_lcnet", "pp_ocrv5_mobile_det"),
        *(
            "pp_ocrv5_mobile_rec",
            "pp_ocrv5_server_det",
            "pp_ocrv5_server_rec",
            "pp_ocrv6_medium_det",
        ),
        *("pp_ocrv6_small_det", "pp_ocrv6_small_rec", "pp_ocrv6_tiny_rec", "rf_detr", "sam2"),
        *(
            "sam2_video",
            "sam3",
            "sam3_lite_text",
            "sam3_tracker",
            "sam3_tracker_video",
            "sam3_video",
        ),
        *("sapiens2", "slanet", "slanext", "step3p7", "tipsv2", "tipsv2_dpt", "ultravbert"),
        *("unlimited_ocr", "uvdoc", "vivit"),
    )
)
_TIMM = frozenset({"timm_wrapper", "timm_backbone"})


def libraries_of(config: Mapping[str, Any], *, reads_data: bool) -> frozenset[str]:
    """Optional libraries without which a model does not load, or records cannot feed it.

    Args:
        config: of the checkpoint.
        reads_data: whether the job has records to encode.
    """
    parts = [part for part in config.values() if isinstance(part, Mapping)]
    needed = {"timm"} if any(str(part.get("model_type")) in _TIMM for part in parts) else set()
    if reads_data and str(config.get("model_type")) in TORCHVISION:
        needed.add("torchvision")
    return frozenset(needed)


def is_gpu(device: str) -> bool:
    """Whether only a GPU will do."""
    return device.startswith("cuda")


def ordinal(device: str) -> int:
    """Which GPU of a worker is meant; the first where none is said."""
    return int(device.partition(":")[2] or 0)


def estimate_seconds(layout: ModelLayout, spec: JobSpec, machine: Machine) -> dict[Phase, float]:
    """What each phase of the job should take on the machine."""
    rate = max(machine.gflops * 1e9 * _EFFICIENCY, _RATE_FLOOR)
    disk = max(machine.disk_rate, _RATE_FLOOR)
    found = {Phase.LOADING: _START + layout.stored / disk}
    if spec.calibration is not None:
        one = 2 * _products(layout, spec.calibration.max_length) / rate
        found[Phase.PRUNING] = _pruning(layout, spec, one, rate)
    else:
        found[Phase.PRUNING] = _CHOOSING * layout.numel
    if (judged := spec.evaluation) is not None:
        head = layout.vocabulary * max((b.hidden for b in layout.blocks), default=0)
        products = _products(layout, judged.max_length) + head * judged.max_length
        found[Phase.EVALUATING] = 2 * judged.samples * 2 * products / rate
    if spec.search is not None:  # the dense model is measured once, the best one pruned again
        tries = spec.search.evaluations
        found[Phase.PRUNING] *= tries
        found[Phase.EVALUATING] *= (tries + 1) / 2
    found[Phase.EXPORTING] = 2 * layout.stored / disk
    found[Phase.VERIFYING] = layout.stored / disk + layout.stored / _CHECKED
    if spec.measure:
        once, loading = _running(layout, rate), _CHILD + layout.stored / disk
        found[Phase.MEASURING] = min(BUDGET, 2 * (loading + (ROUNDS + 1) * once))
    return {phase: round(seconds, 2) for phase, seconds in found.items()}


def _running(layout: ModelLayout, rate: float) -> float:
    """One prompt and its answer, every token of which reads all weights."""
    return 2 * (_products(layout, PROMPT) + ANSWER * layout.numel) / rate


def _products(layout: ModelLayout, length: int) -> float:
    """Multiplications of one record's dense forward through the blocks."""
    return sum(
        (block.numel + 2 * tokens * block.hidden) * tokens
        for block in layout.blocks
        if (tokens := layout.tokens(block.modality, length))
    )


def _pruning(layout: ModelLayout, spec: JobSpec, one: float, rate: float) -> float:
    """`one` is the time of one record's dense forward."""
    if spec.calibration is None:
        return 0.0
    samples, recipe = spec.calibration.samples, spec.recipe
    if not isinstance(recipe, Recipe):
        return _BACKWARD * recipe.epochs * recipe.rounds * samples * one
    dense = samples * one
    seconds = _reducing(layout, recipe, spec.calibration, one, rate)
    return seconds + (
        _zeroing(layout, recipe, spec.calibration, dense, rate) if recipe.zeroes else 0
    )


def _zeroing(
    layout: ModelLayout, recipe: Recipe, spec: CalibrationSpec, dense: float, rate: float
) -> float:
    """`dense` is the time of a dense forward of the calibration set."""
    samples, one = spec.samples, dense / spec.samples
    seconds = _CHOOSING * layout.numel
    scoring, importance = recipe.allocation.scoring, recipe.importance
    if scoring is not None and scoring.kind != "reused":
        matrices = sum(len(block.shapes) for block in layout.blocks)
        passes = scoring.forwards + _BACKWARD * scoring.backwards
        passes += _SKIPPED * matrices * scoring.perturbed
        seconds += min(scoring.samples, samples) * one * passes
    seconds += (importance.forwards + _BACKWARD * importance.backwards) * dense
    if importance.statistic == "second-moments" or recipe.solves:
        seconds += _second_order(layout, spec.max_length, samples, rate)
    if recipe.sees_dense_model:
        seconds += dense
    if spec.tokens in {"atv", "amia"} and recipe.reads_inputs:
        seconds += dense  # a look at every block before its statistics
    if spec.tokens == "amia":
        seconds += _likenesses(layout, spec, rate)
    if recipe.recovery is not None:  # a batch at each step, of every block; and to choose a rate
        tried = 1.0 if recipe.recovery.learning_rate is not None else 1.6
        rows = min(spec.batch_size, samples)
        seconds += _TRAINED * tried * recipe.recovery.steps * rows * one
    if recipe.objective != "pruned-inputs":
        seconds += _SUMS_BESIDE * _second_order(layout, spec.max_length, samples, rate)
    if isinstance(recipe.reconstruction, LeastSquares):
        if importance.schedule != "sequential":  # a walk of its own
            seconds += _WALK * dense
        products = sum(
            rows * columns**2 for block in layout.blocks for rows, columns in block.shapes
        )
        seconds += 2 * (recipe.reconstruction.steps + 3) * products / rate
    return seconds


def _likenesses(layout: ModelLayout, spec: CalibrationSpec, rate: float) -> float:
    """Outputs of every matrix again, and of each sample all pairs of tokens."""
    operations = 0.0
    for block in layout.blocks:
        tokens = layout.tokens(block.modality, spec.max_length)
        operations += sum(2 * tokens * rows * (columns + tokens) for rows, columns in block.shapes)
    return spec.samples * operations / rate


def _reducing(
    layout: ModelLayout, recipe: Recipe, spec: CalibrationSpec, one: float, rate: float
) -> float:
    """Walks for each step; for width, moments of the widest inputs, inverses and solves too.

    For blocks that are left out by what the model gives without them, a forward for each try.
    """
    operations = 0.0
    if any(isinstance(step, Width) for step in recipe.structure):
        for block in layout.blocks:
            tokens = spec.samples * layout.tokens(block.modality, spec.max_length)
            width = max(block.inputs, default=0)
            operations += tokens * width**2 + 4 * width**3 + 4 * 2 * block.largest * width
    walks = 2.0 * len(recipe.structure)
    for step in recipe.structure:
        if isinstance(step, Depth) and step.score == "output":
            walks += 1 + _tries(layout, step)
    return walks * spec.samples * one + operations / rate


def _tries(layout: ModelLayout, step: Depth) -> float:
    """Forwards of the set in which a block is left out to see what the model gives then."""
    count = Counter(block.modality for block in layout.blocks)
    return sum(step.share_of(modality) * blocks**2 for modality, blocks in count.items())


def _second_order(layout: ModelLayout, length: int, samples: int, rate: float) -> float:
    """Second moments, their factors, and the columns updated one after the other."""
    operations = 0.0
    for block in layout.blocks:
        tokens = samples * layout.tokens(block.modality, length)
        operations += sum(tokens * width**2 + 2 * width**3 for width in block.inputs)
        operations += sum(2 * rows * columns**2 for rows, columns in block.shapes)
    return operations / rate
