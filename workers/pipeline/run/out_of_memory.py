"""What a run without memory left tries: fewer activations on a GPU, then smaller batches."""

import gc
import shutil
from dataclasses import replace

import psutil
import torch

from app.domain.jobs import EventLevel, EventType, NewEvent
from app.domain.submission import JobSpec
from app.errors import OutOfMemoryError
from app.planning.machines import gigabytes
from workers.pipeline.context import RunContext
from workers.pruning.models.layout.precision import find_device


def smaller(context: RunContext) -> RunContext:
    """The run with less on the device, what the last try left cleared away.

    Raises:
        OutOfMemoryError: the batch is one record already.
    """
    device = find_device(context.spec.device, context.device)
    used = _usage(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    shutil.rmtree(context.staging)
    context.staging.mkdir()
    if device.type == "cuda" and context.roomy:
        less, how = replace(context, roomy=False), "activations on the host"
    else:
        shutil.rmtree(context.checkpoints.directory, ignore_errors=True)  # of other batches
        spec = halved(context.spec)
        if spec is None:
            raise OutOfMemoryError(
                f"memory ran out on {device} with one record at a time: {used}; ask for a worker "
                "with more memory, or for shorter records"
            )
        less, how = replace(context, spec=spec), f"batches of {_batches(spec)}"
    told = f"memory ran out on {device}: {used}; starting again with {how}"
    data = {"device": str(device), "batch_size": _batches(less.spec)}
    context.report.event(NewEvent(EventType.WARNING, told, EventLevel.WARNING, data))
    context.report.check()
    return less


def halved(spec: JobSpec) -> JobSpec | None:
    """The job with half the batches; None where there is nothing to halve."""
    if _batches(spec) <= 1:
        return None
    parts = {
        name: part.model_copy(update={"batch_size": max(1, part.batch_size // 2)})
        for name, part in (("calibration", spec.calibration), ("evaluation", spec.evaluation))
        if part is not None
    }
    return spec.model_copy(update=parts)


def _batches(spec: JobSpec) -> int:
    return max((part.batch_size for part in (spec.calibration, spec.evaluation) if part), default=1)


def _usage(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:
        memory = psutil.virtual_memory()
        free, total = memory.available, memory.total
    return f"{gigabytes(free)} of {gigabytes(total)} were free"
