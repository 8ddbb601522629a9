"""What workers run on, as they measured it, and which can take a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.errors import NotFoundError, UserError
from app.recipes.tasks import HARNESSES, TaskNotOfferedError

# Workers give a sign of life once a minute; a class without one for this long has none, by all we
# know: they have been scaled to zero, or are gone.
SILENT = timedelta(minutes=5)


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
        tasks: of harnesses, that it has loaded with their data: `lm-eval/hellaswag`.
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
    tasks: tuple[str, ...] = ()


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
        tasks: of harnesses, that its worker has to offer.
    """

    device: str
    worker_class: str | None
    host_bytes: int | None
    device_bytes: int | None
    libraries: frozenset[str] = frozenset()
    model_type: str = ""
    tasks: frozenset[str] = frozenset()

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
        TaskNotOfferedError: none has all tasks of harnesses.
        JobTooLargeError: the job fits none of them.
    """
    if requirements.worker_class is not None:
        machines = _of_class(machines, requirements.worker_class)
    elif not machines and not is_gpu(requirements.device) and not requirements.tasks:
        return None
    able = [machine for machine in machines if _has(machine, requirements.device)]
    if not able and is_gpu(requirements.device):
        raise NoWorkerError(_no_device(machines, requirements))
    able = _importing(_offering(able, requirements), requirements)
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


def _offering(machines: Sequence[Machine], requirements: Requirements) -> list[Machine]:
    """Those that have every task."""
    found = [m for m in machines if requirements.tasks.issubset(m.tasks)]
    if not found:
        most = max((set(m.tasks) & requirements.tasks for m in machines), key=len, default=set())
        missing = sorted(requirements.tasks - most)
        ran = {each.partition("/")[0] for m in machines for each in m.tasks}
        without = [name for name in HARNESSES if name not in ran]
        hint = f"; no worker runs {' or '.join(without)}" if without else ""
        raise TaskNotOfferedError(
            f"no worker that could take the job offers {' and '.join(missing)}{hint}. A worker "
            "offers the tasks whose files and data it has found when it started; GET /v1/workers "
            "shows them"
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
