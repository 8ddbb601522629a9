"""Tasks of harnesses on the files of the dense model and of the result, one after the other."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.planning.model_files.files import read_config
from app.recipes.tasks import (
    HarnessTask,
    TaskFailure,
    TaskFailureCode,
    TaskMetric,
    TaskReport,
    TaskScore,
    kind_of,
    refusal,
)
from workers.pipeline.context import HarnessAccess, RunContext, StoppedError
from workers.pipeline.free_memory import free_bytes
from workers.pipeline.line_process import Fault, ProcessFaultError
from workers.pipeline.tasks.harness import open_harness
from workers.pruning.resume import Checkpoints, Entry

logger = logging.getLogger("secateur.tasks")

_SIDES = ("dense model", "result")
_CODES: dict[Fault, TaskFailureCode] = {
    "failed": "task_failed",
    "out_of_memory": "task_out_of_memory",
    "timed_out": "task_timed_out",
}


def run_tasks(
    context: RunContext,
    dense: Path,
    device: torch.device,
    checkpoints: Checkpoints,
    progress: Callable[[float], None],
) -> tuple[TaskReport | TaskFailure, ...]:
    """Run every task on both models; what a lost attempt has run is not run again.

    Nothing that goes wrong here costs the result: it is told in its place.

    Args:
        context: of the run; the result lies in its staging directory.
        dense: directory of the dense model.
        device: to run on.
        checkpoints: of the job.
        progress: told the share of it that is done.

    Raises:
        StoppedError: the reporter said so.
    """
    context.report.phase(Phase.EVALUATING)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    found: list[TaskReport | TaskFailure] = []
    for task in context.spec.tasks:
        one = _Task(context, task, device, checkpoints)
        found.append(one.run((dense, context.staging)))
        _tell(context, found[-1])
        progress(len(found) / len(context.spec.tasks))
    return tuple(found)


class _Task:
    def __init__(
        self,
        context: RunContext,
        task: HarnessTask,
        device: torch.device,
        checkpoints: Checkpoints,
    ) -> None:
        self._context = context
        self._task = task
        self._device = device
        self._checkpoints = checkpoints

    def run(self, directories: tuple[Path, Path]) -> TaskReport | TaskFailure:
        """Dense model first; where it fails, the other one would tell nothing."""
        config = read_config(directories[0])
        if kind_of(self._task.harness, config) is None:
            reason = refusal(self._task.harness, self._context.spec.model, config)
            return self._failure("task_model_unsupported", reason)
        access = self._context.harnesses
        if access is None or self._task.harness not in access.interpreters:
            return self._failure("task_not_offered", f"this worker has no {self._task.harness}")
        try:
            sides = [self._side(access, *each) for each in zip(_SIDES, directories, strict=True)]
            return self._report(*sides)
        except ProcessFaultError as error:
            return self._failure(_CODES[error.fault], str(error))
        except OSError as error:
            reason = f"{self._task.harness} does not start: {error.strerror}"
            return self._failure("task_failed", reason)
        except StoppedError:
            raise
        except Exception as error:
            logger.exception("%s cannot be run", self._task.offer)
            reason = f"it says {type(error).__name__}; the worker's log has the details"
            return self._failure("task_failed", reason)

    def _side(self, access: HarnessAccess, side: str, directory: Path) -> dict[str, Any]:
        name = f"task {self._context.spec.tasks.index(self._task)} of the {side}"
        known = self._checkpoints.get(name)
        if known is not None:
            return dict(known.values)
        context = self._context
        task = {
            "do": "run",
            **self._task.model_dump(),
            "kind": kind_of(self._task.harness, read_config(directory)),
            "model": str(directory),
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "memory": free_bytes(context, torch.device("cpu")),
        }
        # Time that passes here is bounded already, so it is no reason to end this process.
        with open_harness(
            access,
            self._task.harness,
            task,
            name=f"{side} in {self._task.offer}",
            deadline=time.monotonic() + access.seconds,
            check=context.report.check,
        ) as process:
            told = process.hear()
        self._checkpoints.put(name, Entry(told))
        return told

    def _report(self, before: dict[str, Any], after: dict[str, Any]) -> TaskReport:
        version = before["task_version"]
        return TaskReport(
            harness=self._task.harness,
            task=self._task.task,
            harness_version=before["harness_version"],
            task_version=None if version is None else str(version),
            samples=before["samples"],
            metrics={
                name: TaskMetric(
                    before=_score(old),
                    after=_score(after["metrics"][name]),
                    higher_is_better=old["higher_is_better"],
                )
                for name, old in before["metrics"].items()
                if name in after["metrics"]
            },
        )

    def _failure(self, code: TaskFailureCode, reason: str) -> TaskFailure:
        task = self._task
        return TaskFailure(harness=task.harness, task=task.task, code=code, reason=reason)


def _score(told: dict[str, Any]) -> TaskScore:
    return TaskScore(value=told["value"], stderr=told["stderr"])


def _tell(context: RunContext, found: TaskReport | TaskFailure) -> None:
    name = f"{found.harness}/{found.task}"
    if isinstance(found, TaskFailure):
        text = f"{name} has no figures: {found.reason}"
        event = NewEvent(EventType.WARNING, text, EventLevel.WARNING, {"code": found.code})
        context.report.event(event)
        return
    for metric, measured in found.metrics.items():
        text = f"{name} {metric} {measured.before.value} -> {measured.after.value}"
        data = {"metric": f"{name} {metric}", **measured.model_dump()}
        context.report.event(NewEvent(EventType.METRIC, text, data=data))
