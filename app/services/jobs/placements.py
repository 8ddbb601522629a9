"""Where a job goes, by what it should take and by what the workers have."""

from dataclasses import dataclass

from sqlalchemy import Connection

from app.domain.jobs import DEFAULT_CLASS, Phase
from app.domain.submission import JobRequest, JobSpec
from app.planning.layout import Anatomy
from app.planning.machines import Machine
from app.planning.memory import Memory, estimate_memory
from app.planning.model_files.outlines import Outline
from app.planning.placement import Wish, uses_gpu
from app.planning.time import estimate_seconds
from app.services.workers import Machines

_MOST = (1 << 63) - 1


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


def place(
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
        machine = machines.choose(connection, Wish(spec.device, request.worker_class, None, None))
        return Placement(_class_of(machine), None, None)
    anatomy = Anatomy.of(outline.tensors, outline.config)
    on_host = estimate_memory(anatomy, spec, activations=activations)
    on_gpu = estimate_memory(anatomy, spec, gpu=True)
    wish = Wish(spec.device, request.worker_class, on_host.peak, on_gpu.peak)
    machine = machines.choose(connection, wish)
    gpu = machine is not None and uses_gpu(machine, spec.device)
    seconds = estimate_seconds(anatomy, spec, machine) if machine else None
    return Placement(_class_of(machine), on_gpu if gpu else on_host, seconds)


def _class_of(machine: Machine | None) -> str:
    return DEFAULT_CLASS if machine is None else machine.worker_class
