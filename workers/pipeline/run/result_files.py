"""What is measured of the finished files beside the dense model's: tasks of harnesses, time."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from app.recipes.performance import NotMeasured
from app.recipes.pruning_report import PruningReport
from app.recipes.tasks import TaskFailure
from workers.pipeline.context import RunContext
from workers.pipeline.performance.stage import measure
from workers.pipeline.tasks.stage import run_tasks
from workers.pruning.models.adapter import Adapter
from workers.pruning.resume import Checkpoints

_Progress: TypeAlias = Callable[[float], None]


def judge_files(
    context: RunContext,
    dense: Path,
    adapter: Adapter,
    checkpoints: Checkpoints,
    *,
    pruned: PruningReport,
    share: tuple[float, float],
) -> PruningReport:
    """The report with what the files come to in tasks, and what they take to run.

    Args:
        context: of the run; the result lies in its staging directory.
        dense: directory of the dense model.
        adapter: of the result.
        checkpoints: of the job.
        pruned: the report so far.
        share: of the job's time, from and to.

    Raises:
        StoppedError: the reporter said so.
    """
    spec = context.spec
    begin, end = share
    middle = (begin + end) / 2 if spec.tasks and spec.measure else end if spec.tasks else begin
    if spec.tasks:
        progress = _between(context, begin, middle)
        found = run_tasks(context, dense, adapter.model.device, checkpoints, progress)
        failures = [each for each in found if isinstance(each, TaskFailure)]
        told = tuple(
            f"{each.harness}/{each.task} has no figures ({each.code}): {each.reason}"
            for each in failures
        )
        update = {"tasks": found, "warnings": (*pruned.warnings, *told)}
        pruned = pruned.model_copy(update=update)
    if spec.measure:
        measured = measure(context, adapter, dense, _between(context, middle, end))
        warnings = pruned.warnings
        if isinstance(measured, NotMeasured):
            reason = f"the result was not measured ({measured.code}): {measured.reason}"
            warnings = (*warnings, reason)
        pruned = pruned.model_copy(update={"performance": measured, "warnings": warnings})
    return pruned


def _between(context: RunContext, begin: float, end: float) -> _Progress:
    return lambda share: context.report.progress(begin + (end - begin) * share)
