"""Runs a job in the memory there is: where a batch is too large, again with half of it."""

import gc
import re
import shutil
from dataclasses import replace

import psutil
import torch

from app.domain.jobs import EventLevel, EventType, NewEvent
from app.domain.submission import JobSpec
from app.errors import OutOfMemoryError
from app.planning.machines import gigabytes
from workers.pipeline.context import RunContext
from workers.pipeline.devices import find_device
from workers.pipeline.run import run as pipeline
from workers.pipeline.stages import Outcome

# What torch says on the CPU, where it has no exception of its own.
_CPU = re.compile(r"DefaultCPUAllocator|not enough memory|Cannot allocate memory|std::bad_alloc")


def run(context: RunContext) -> Outcome:
    """Carry out one job, as `run.run` does.

    A model that was half pruned when memory ran out is of no use, so each try loads it anew.

    Raises:
        OutOfMemoryError: one record at a time is too much.
        StoppedError: the reporter said so.
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
    """
    while True:
        try:
            return pipeline.run(context)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        # Here the exception is gone, and with it the frames that held the model.
        context = _smaller(context)


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or _CPU.search(str(error)) is not None


def _smaller(context: RunContext) -> RunContext:
    """The run with half the batch, what the last try left cleared away.

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
    shutil.rmtree(context.checkpoints.directory, ignore_errors=True)  # of other batches
    spec = halved(context.spec)
    if spec is None:
        raise OutOfMemoryError(
            f"memory ran out on {device} with one record at a time: {used}; ask for a worker with "
            "more memory, or for shorter records"
        )
    told = f"memory ran out on {device}: {used}; starting again with batches of {_batches(spec)}"
    data = {"device": str(device), "batch_size": _batches(spec)}
    context.report.event(NewEvent(EventType.WARNING, told, EventLevel.WARNING, data))
    context.report.check()
    return replace(context, spec=spec)


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
