"""Carries out one step of a recipe's structure on a loaded checkpoint and its files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.errors import CalibrationDataError
from app.messages import words_of
from app.recipes.structure import Step, WiringError
from app.recipes.structure_report import BlockStructure
from workers.pruning.engine.prune import evaluating
from workers.pruning.engine.report_builder import ProgressListener
from workers.pruning.memory import out_of_memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.resume import Checkpoints, NoCheckpoints
from workers.pruning.structure.cut import Reduction, write_reduced
from workers.pruning.structure.depth import shorten
from workers.pruning.structure.experts import thin
from workers.pruning.structure.width import narrow

Carry = Callable[..., tuple[Reduction, list[BlockStructure], list[str]]]
_STEPS: Mapping[str, Carry] = {"width": narrow, "depth": shorten, "experts": thin}
_NEAR = 0.02  # of the outputs' norm, which half precision may be off by


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a step has come to.

    Attributes:
        blocks: what was decided, block by block.
        warnings: what whoever takes the model should know.
        expected: what the model in memory computes of the first batch, reduced.
    """

    blocks: tuple[BlockStructure, ...]
    warnings: tuple[str, ...]
    expected: tuple[Tensor, ...]


def reduce(
    adapter: Adapter,
    step: Step,
    batches: Sequence[Batch],
    directory: Path,
    report: ProgressListener = lambda _progress: None,
    *,
    checkpoints: Checkpoints | None = None,
) -> Reduced:
    """Take out what the step says and write what is left to the files.

    The model is of no use afterwards: load the files again, and hold them against what it computed
    (`check_outputs`).

    Args:
        adapter: the model, loaded from `directory` or from what that is a copy of.
        step: what to take out.
        batches: calibration inputs from `adapter.batches`.
        directory: the checkpoint to write to.
        report: told after every block; what it raises ends the run.
        checkpoints: what an earlier run with the very same arguments has finished, on the model
            as it was again; the files are the same bit by bit.

    Raises:
        CalibrationDataError: there are no batches.
        StructureError: one of its kinds; the files are as they were.
        NonFiniteError: a weight or an activation is NaN or infinite; the message names it.
    """
    if not batches:
        raise CalibrationDataError(f"{step.kind} needs calibration data")
    with torch.no_grad(), evaluating(adapter.model):
        carry = _STEPS[step.kind]
        kept = checkpoints or NoCheckpoints()
        reduction, decided, warnings = carry(adapter, step, batches, report, kept)
        with reduction.stand_in():
            expected = outputs_of(adapter, batches[0])
        write_reduced(directory, adapter, reduction)
    return Reduced(tuple(decided), tuple(warnings), expected)


def check_outputs(adapter: Adapter, batch: Batch, reduced: Reduced) -> None:
    """Refuse a model that computes something else than it did in memory.

    Raises:
        WiringError: it does: its code or its configuration counts its parts in a way that is not
            understood.
    """
    try:
        with torch.no_grad(), evaluating(adapter.model):
            found = outputs_of(adapter, batch)
    except Exception as error:  # a foreign model that was made smaller than its code allows
        if out_of_memory(error):
            raise
        raise WiringError(
            f"{type(adapter.model).__name__} does not run without its parts: {words_of(error)}"
        ) from error
    for one, other in zip(reduced.expected, found, strict=True):
        near = one.shape == other.shape and float((one - other).norm()) <= _NEAR * float(one.norm())
        if not near:
            raise WiringError(
                f"{type(adapter.model).__name__} computes something else once the parts are gone "
                "than with nothing in their place: how it counts its parts is not understood"
            )


def outputs_of(adapter: Adapter, batch: Batch) -> tuple[Tensor, ...]:
    """What a model makes of a batch, in float32 on the host."""
    output = adapter.forward(batch)
    values = output.values() if hasattr(output, "values") else output
    found = (each for each in values if isinstance(each, Tensor) and each.is_floating_point())
    return tuple(each.float().cpu() for each in found)
