"""Takes the structure of a recipe out of a job's model, before weights become zero."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.jobs import EventLevel, EventType, NewEvent
from app.recipes.recipe import Recipe
from app.recipes.structure_report import BlockStructure, StructureReport
from workers.pipeline.context import RunContext
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.source import Dataset
from workers.pipeline.stages import load_adapter, record_errors_of
from workers.pruning.engine.report_builder import ProgressListener
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.resume import Checkpoints
from workers.pruning.structure.reduce import check_outputs, reduce
from workers.pruning.structure.sizes import ModelSize, compared


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking structure out has come to.

    Attributes:
        adapter: the model that is left, loaded from the files.
        report: what was taken out.
        warnings: what whoever takes the model should know.
    """

    adapter: Adapter
    report: StructureReport
    warnings: tuple[str, ...]


def take_out(
    context: RunContext,
    recipe: Recipe,
    adapter: Adapter,
    batches: Sequence[Batch],
    data: Mapping[Purpose, Dataset],
    *,
    listeners: Sequence[ProgressListener],
    checkpoints: Checkpoints,
) -> Taken:
    """Carry the steps out one after the other; the staged files are the smaller model's then.

    Args:
        context: of the run.
        recipe: with a structure.
        adapter: the model, its weights in the staging directory.
        batches: calibration inputs.
        data: the records they were made from.
        listeners: told after every block, one for each step.
        checkpoints: what an earlier attempt has finished.

    Raises:
        UserError: the model or its data do not allow it.
    """
    before = ModelSize(adapter)
    decided: list[BlockStructure] = []
    warnings: list[str] = []
    for step, listener in zip(recipe.structure, listeners, strict=True):
        with record_errors_of(context, adapter, data):
            found = reduce(
                adapter, step, batches, context.staging, listener, checkpoints=checkpoints
            )
        decided += found.blocks
        warnings += found.warnings
        adapter = load_adapter(context, context.staging, recipe)
        check_outputs(adapter, batches[0], found)
    report = compared(before, ModelSize(adapter), decided)
    text = (
        f"{report.parameters_kept:,} of {report.parameters:,} parameters are left, "
        f"{report.bytes_kept:,} of {report.bytes:,} bytes, "
        f"{report.flops_ratio:.1%} of the operations"
    )
    context.report.event(NewEvent(EventType.LOG, text, EventLevel.INFO))
    return Taken(adapter, report, tuple(warnings))
