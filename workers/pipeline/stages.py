"""What every kind of job does: load the model, read its records, say where it all came from."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from app.domain.job_result import JobResult
from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.domain.submission import JobSpec, with_default_set
from app.errors import HubUnavailableError, UserError
from app.planning.machines import Machine
from app.planning.memory import ModelLayout
from app.planning.model_files.files import parse_model_source, read_config
from app.planning.model_files.headers import read_header
from app.planning.seconds import estimate_seconds
from app.recipes.evaluation import QualityGateError
from app.recipes.recipe import Recipe
from app.retries import retried
from workers.pipeline.checkpoints import DiskCheckpoints, open_checkpoints
from workers.pipeline.context import Reporter, RunContext, interruptible
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import record_errors
from workers.pipeline.data.source import Dataset, load_dataset
from workers.pipeline.evaluation.stage import refuse_overlap
from workers.pipeline.export import OutputFile
from workers.pipeline.sources import ModelFiles, fetch
from workers.pruning.engine.report_builder import Progress, ProgressListener
from workers.pruning.memory import Memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import (
    HALF,
    find_device,
    identity,
    settle,
    suitable_dtype,
)
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.loading import LoadedModel, load_model


def longest_step(directory: Path, spec: JobSpec, machine: Machine) -> float:
    """Seconds, as a plan of the job would say; 0 where the headers cannot be read.

    Args:
        directory: the model's files.
        spec: the job.
        machine: this one, measured.
    """
    if not machine.gflops or not machine.disk_rate:
        return 0.0
    try:
        headers = [read_header(file) for file in sorted(directory.glob("*.safetensors"))]
        config = read_config(directory)
    except UserError:  # the job meets it as well, and says so
        return 0.0
    tensors = {name: tensor for header in headers for name, tensor in header.items()}
    seconds = estimate_seconds(ModelLayout.of(tensors, config), spec, machine)
    return max(seconds.values())


T = TypeVar("T")

HUB_PATIENCE = 60.0  # seconds for which a hub that does not answer is asked again


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run leaves: the job's result, the staged files, and why the job fails nonetheless."""

    result: JobResult
    files: Sequence[OutputFile]
    refused: QualityGateError | None = None


def timed(result: JobResult, started: float) -> JobResult:
    """The result of a run that began at `started`, a reading of the monotonic clock."""
    return result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def fetch_model(context: RunContext) -> ModelFiles:
    """The model's files on this machine.

    Raises:
        UserError: the model does not exist, may not be had, or is not one we load.
        HubUnavailableError: the hub does not answer.
    """
    report, access = context.report, context.models
    report.phase(Phase.LOADING)

    def download() -> ModelFiles:
        return fetch(
            parse_model_source(context.spec.model),
            roots=access.roots,
            hub_endpoint=access.hub_endpoint,
            hub_cache=access.hub_cache,
            arrived=report.check,
        )

    files = _patiently(download, report)
    if context.machine is not None:
        report.plan(longest_step(files.directory, context.spec, context.machine))
    return files


def _patiently(download: Callable[[], T], report: Reporter) -> T:
    """Download beside the run, and again for a while where the hub does not answer."""
    return retried(
        lambda: interruptible(download, report),
        lambda error: isinstance(error, HubUnavailableError),
        seconds=HUB_PATIENCE,
        pause=report.wait,
    )


def settled(context: RunContext, source: ModelFiles) -> RunContext:
    """The run with everything decided that the service could not: the set to calibrate on."""
    spec = with_default_set(context.spec, read_config(source.directory))
    return replace(context, spec=spec)


def load(context: RunContext, directory: Path) -> LoadedModel:
    """The model on the device and in the type that the job asks for.

    Its weights stay in the files of the staging directory, a copy of the checkpoint's, and come
    into memory, or onto the device, block by block.

    Args:
        context: of the run.
        directory: of the checkpoint, or the staging directory itself.

    Raises:
        UserError: it does not load, or this machine has no such device.
    """
    staging, room = context.staging, context.activation_bytes
    memory = Memory(
        staging, activations=room, scratch=staging, on_device=room if context.roomy else 0
    )
    return load_model(directory, _dtype(context), memory, _device(context))


def load_adapter(context: RunContext, directory: Path, recipe: Recipe) -> Adapter:
    """The same, seen as the recipe asks.

    Args:
        context: of the run.
        directory: of the checkpoint, or the staging directory itself.
        recipe: what is done to it.

    Raises:
        UserError: it does not load, or this machine has no such device.
    """
    return adapt(
        load(context, directory),
        split_qkv=recipe.split_qkv,
        include_bridge=recipe.include_bridge,
    )


def load_to_run(context: RunContext, source: ModelFiles) -> LoadedModel:
    """The same with every weight in memory: for jobs that run the model often and change nothing.

    Raises:
        UserError: it does not load, or this machine has no such device.
    """
    loaded = load_model(source.directory, _dtype(context), device=_device(context))
    settle(loaded.model)
    return loaded


def _device(context: RunContext) -> torch.device:
    return find_device(context.spec.device, context.device)


def _dtype(context: RunContext) -> torch.dtype | None:
    name = context.spec.dtype
    found: torch.dtype | None = None if name == "auto" else getattr(torch, name)
    return found


def read_records(context: RunContext) -> dict[Purpose, Dataset]:
    """The records of the job.

    Raises:
        EvaluationOverlapError: a record would serve both purposes.
    """
    spec, report, found = context.spec, context.report, {}

    def read(name: str, part: Purpose, samples: int, seed: int) -> Dataset:
        return _patiently(
            lambda: load_dataset(name, part, samples=samples, seed=seed, uploads=context.datasets),
            report,
        )

    if (calibration := spec.calibration) is not None and calibration.set is not None:
        report.phase(Phase.CALIBRATING)
        part = Purpose.CALIBRATION
        found[part] = read(calibration.set, part, calibration.samples, spec.recipe.seed)
    if (evaluation := spec.evaluation) is not None and evaluation.set is not None:
        part = Purpose.EVALUATION
        found[part] = read(evaluation.set, part, evaluation.samples, evaluation.seed)
    for dataset in found.values():
        if dataset.blank:
            told = f"{dataset.blank} blank rows of {dataset.name} were skipped"
            data = {"code": "blank_rows", "rows": dataset.blank}
            report.event(NewEvent(EventType.WARNING, told, EventLevel.WARNING, data))
    if len(found) == len(Purpose):
        refuse_overlap(found[Purpose.CALIBRATION], found[Purpose.EVALUATION])
    return found


def checkpoints_of(
    context: RunContext, source: ModelFiles, data: Mapping[Purpose, Dataset]
) -> DiskCheckpoints:
    """What earlier attempts at the job have finished, and where this one keeps it.

    It counts for the same work alone: results are the same bit by bit only where the versions and
    the processor are.
    """
    work = provenance(context, source, data)
    key = {
        "job": work["job"],
        "state of the model": source.fingerprint,
        "set of records": work["datasets"],
        "calibration of the sweep": context.shared.digest,
        "set of versions": work["versions"],
        "kind of processor": processor(context),
    }
    return open_checkpoints(context, key)


def processor(context: RunContext) -> list[str]:
    """What the job's results hang on, bit for bit, of the machine it runs on."""
    device = _device(context)
    return [*identity(device), *(str(suitable_dtype(each, device)) for each in HALF)]


def calibration_batches(
    context: RunContext, adapter: Adapter, data: Mapping[Purpose, Dataset]
) -> list[Batch]:
    """The calibration set as the model takes it; empty where the method reads none.

    Raises:
        CalibrationDataError: the set cannot feed this model.
    """
    spec = context.spec.calibration
    if spec is None:
        return []
    records = [record.calibration for record in data[Purpose.CALIBRATION].records]
    return list(adapter.batches(records, batch_size=spec.batch_size, max_length=spec.max_length))


def record_errors_of(
    context: RunContext, adapter: Adapter, data: Mapping[Purpose, Dataset]
) -> AbstractContextManager[None]:
    """`record_errors` for the calibration records; for none where the job reads none."""
    spec, dataset = context.spec.calibration, data.get(Purpose.CALIBRATION)
    if spec is None or dataset is None:
        return record_errors(adapter, (), 0)
    records = [record.calibration for record in dataset.records]
    return record_errors(adapter, records, spec.max_length, context.report.check)


def provenance(
    context: RunContext, source: ModelFiles, data: Mapping[Purpose, Dataset]
) -> dict[str, Any]:
    """What the manifest says about where a job's files come from."""
    libraries = ["secateur", "torch", "transformers", "safetensors"]
    if getattr(context.spec.recipe, "quantization", None) is not None:
        libraries.append("compressed-tensors")
    return {
        "request": context.request.reproduced() if context.request else {},
        "job": context.spec.model_dump(mode="json"),
        "model_revision": source.revision,
        "datasets": {part: dataset.provenance for part, dataset in data.items()},
        "versions": {name: version(name) for name in libraries},
    }


def block_reporters(
    report: Reporter, recipe: Recipe, begin: float, end: float
) -> "Sequence[ProgressListener]":
    """One for each walk through the model, each with its part of the time; the last one prunes."""
    count = len(recipe.structure) + 1
    width = (end - begin) / max(1, count if recipe.zeroes else count - 1)
    return [_BlockReporter(report, begin + number * width, width) for number in range(count)]


def warn(report: Reporter, sentences: Sequence[str]) -> None:
    """Put the sentences into the job's log."""
    for sentence in sentences:
        report.event(NewEvent(EventType.WARNING, sentence, EventLevel.WARNING))


class _BlockReporter:
    """Turns the engine's progress into the job's."""

    def __init__(self, report: Reporter, begin: float, width: float) -> None:
        self._report = report
        self._begin = begin
        self._width = width

    def __call__(self, progress: Progress) -> None:
        warn(self._report, progress.warnings)
        message = f"{progress.phase} {progress.block}"
        data = {
            "block": progress.block,
            "phase": progress.phase,
            "modality": progress.modality,
            "done": progress.done,
            "total": progress.total,
        }
        self._report.event(NewEvent(EventType.BLOCK, message, data=data))
        share = self._begin + self._width * progress.done / max(progress.total, 1)
        self._report.progress(share)
