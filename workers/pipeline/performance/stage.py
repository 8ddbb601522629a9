"""The dense model and the result side by side: in turns, from their files, within a time."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.errors import CalibrationDataError
from app.planning.model_files.files import read_config
from app.recipes.data import inputs_of
from app.recipes.performance import (
    BUDGET,
    Amount,
    NotMeasured,
    NotMeasuredCode,
    PerformanceReport,
    Shapes,
    Timing,
    confidence,
)
from workers.pipeline.context import RunContext, StoppedError
from workers.pipeline.free_memory import free_bytes
from workers.pipeline.line_process import Fault, ProcessFaultError
from workers.pipeline.performance.inputs import make_inputs
from workers.pipeline.performance.process import ModelProcess
from workers.pipeline.performance.turns import Side, take_turns
from workers.pruning.models.adapter import Adapter

logger = logging.getLogger("secateur.performance")

_NAMES = ("dense model", "result")
_CODES: dict[Fault, NotMeasuredCode] = {
    "failed": "measuring_failed",
    "out_of_memory": "measuring_out_of_memory",
    "timed_out": "measuring_timed_out",
}


def measure(
    context: RunContext, adapter: Adapter, dense: Path, progress: Callable[[float], None]
) -> PerformanceReport | NotMeasured:
    """Measure what lies in the staging directory beside the dense model.

    Nothing that goes wrong here costs the result: it is told in its place.

    Args:
        context: of the run.
        adapter: of the result, for inputs.
        dense: directory of the dense model.
        progress: told the share of it that is done.

    Raises:
        StoppedError: the reporter said so.
    """
    context.report.phase(Phase.MEASURING)
    try:
        found = _measured(context, adapter, dense, progress)
    except StoppedError:
        raise
    except ProcessFaultError as error:
        missing = NotMeasured(code=_CODES[error.fault], reason=str(error))
    except CalibrationDataError as error:
        missing = NotMeasured(code="measuring_no_inputs", reason=str(error))
    except Exception as error:
        logger.exception("the result cannot be measured")
        reason = f"measuring failed ({type(error).__name__}); the worker's log has the details"
        missing = NotMeasured(code="measuring_failed", reason=reason)
    else:
        return found
    data = {"code": missing.code}
    text = f"the result was not measured: {missing.reason}"
    context.report.event(NewEvent(EventType.WARNING, text, EventLevel.WARNING, data))
    return missing


def _measured(
    context: RunContext, adapter: Adapter, dense: Path, progress: Callable[[float], None]
) -> PerformanceReport:
    device = adapter.model.device
    inputs, shapes = make_inputs(adapter, inputs_of(read_config(context.staging)))
    threads, deadline = torch.get_num_threads(), time.monotonic() + BUDGET
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with TemporaryDirectory(prefix="secateur-performance-") as scratch:
        file = Path(scratch) / "inputs.safetensors"
        save_file({key: value.cpu().contiguous() for key, value in inputs.items()}, file)

        def start(name: str, directory: Path) -> ModelProcess:
            task = {
                "directory": str(directory),
                "inputs": str(file),
                "answer": shapes.answer,
                "device": str(device),
                "threads": threads,
                "memory": free_bytes(context, torch.device("cpu")),
            }
            # Time that passes here is bounded already, so it is no reason to end this process.
            return ModelProcess(name, task, deadline=deadline, check=context.report.check)

        named = zip(_NAMES, (dense, context.staging), strict=True)
        sides = [Side(partial(start, name, directory)) for name, directory in named]
        together = take_turns(sides, lambda: free_bytes(context, device), progress)
    return _report(sides, shapes, device=str(device), threads=threads, together=together)


def _report(
    sides: list[Side], shapes: Shapes, *, device: str, threads: int, together: bool
) -> PerformanceReport:
    rounds = min(len(side.seconds) for side in sides)
    dense, result = (side.seconds[:rounds] for side in sides)
    names = dense[0].keys()
    amounts = {
        name: Amount(dense=sides[0].told[key], result=sides[1].told[key])
        for name, key in (("bytes", "bytes"), ("peak_bytes", "peak"))
    }
    return PerformanceReport(
        device=device,
        threads=threads,
        dtype=sides[1].told["dtype"],
        shapes=shapes,
        rounds=rounds,
        confidence=confidence(rounds),
        together=together,
        seconds={
            name: Timing.of([each[name] for each in dense], [each[name] for each in result])
            for name in names
        },
        **amounts,
    )
