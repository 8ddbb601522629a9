"""Where a job goes, by what it should take and by what the workers have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from app.checkpoint_headers import read_headers
from app.db import worker_classes
from app.domain.anatomy import Anatomy
from app.domain.jobs import DEFAULT_CLASS, Phase
from app.domain.machines import Machine
from app.domain.memory_estimate import Memory, estimate_memory
from app.domain.model_source import LocalModel, parse_model_source
from app.domain.placement import Wish, uses_gpu
from app.domain.placement import place as choose
from app.domain.submission import JobRequest, JobSpec
from app.domain.tensors import StoredTensor
from app.domain.time_estimate import estimate_seconds
from app.model_directory import read_config, resolve_local_model


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a job goes.

    Attributes:
        worker_class: the workers that may take it.
        directory: the model's; None for one of the hub.
        tensors: in its files; None where their headers were not seen.
        memory: estimated; None like `tensors`.
        seconds: estimated by phase; None like `tensors`, or before such a worker has started.
    """

    worker_class: str
    directory: Path | None
    tensors: dict[str, StoredTensor] | None
    memory: Memory | None
    seconds: dict[Phase, float] | None

    @property
    def memory_bytes(self) -> int | None:
        """Peak memory."""
        return None if self.memory is None else self.memory.peak


def place(
    connection: Connection,
    request: JobRequest,
    spec: JobSpec,
    *,
    roots: Sequence[Path],
    activations: int,
) -> Placement:
    """Estimate the job and choose its workers.

    Args:
        connection: a transaction.
        request: what the client asks for.
        spec: the same, resolved.
        roots: where models may lie.
        activations: bytes of them that workers hold in host memory.

    Raises:
        UnknownWorkerClassError: no worker of the class asked for has ever started.
        NoWorkerError: no worker has the device.
        JobTooLargeError: it fits none of them.
        ModelFilesError: config.json is no JSON object.
    """
    directory = _directory(spec.model, roots)
    tensors = read_headers(directory) if directory else None
    machines = [each.machine for each in worker_classes.listing(connection)]
    if directory is None or not tensors:
        machine = choose(machines, Wish(spec.device, request.worker_class, None, None))
        return Placement(_class_of(machine), directory, tensors, None, None)
    anatomy = Anatomy.of(tensors, read_config(directory))
    on_host = estimate_memory(anatomy, spec, activations=activations)
    on_gpu = estimate_memory(anatomy, spec, gpu=True)
    wish = Wish(spec.device, request.worker_class, on_host.peak, on_gpu.peak)
    machine = choose(machines, wish)
    gpu = machine is not None and uses_gpu(machine, spec.device)
    seconds = estimate_seconds(anatomy, spec, machine) if machine else None
    return Placement(_class_of(machine), directory, tensors, on_gpu if gpu else on_host, seconds)


def _class_of(machine: Machine | None) -> str:
    return DEFAULT_CLASS if machine is None else machine.worker_class


def _directory(model: str, roots: Sequence[Path]) -> Path | None:
    source = parse_model_source(model)
    return resolve_local_model(source.path, roots) if isinstance(source, LocalModel) else None
