"""The pipeline: load -> calibrate -> prune -> export -> verify."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.domain.model_source import parse_model_source
from app.domain.report import PruningReport
from workers.pipeline import calibration_sets, files
from workers.pipeline.context import Reporter, RunContext
from workers.pipeline.files import OutputFile
from workers.pipeline.sources import ModelFiles, fetch
from workers.pipeline.verify import verify_sparsity
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.models.registry import adapt
from workers.pruning.models.replay import Batch
from workers.pruning.progress import Progress
from workers.pruning.prune import prune

REPORT = "pruning_report.json"
# Shares of a job's time at which the phases start; pruning is nearly all of it.
LOADED, CALIBRATED, PRUNED, EXPORTED, VERIFIED = 0.05, 0.1, 0.85, 0.93, 0.97


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves: the job's result and the staged files."""

    result: dict[str, Any]
    files: Sequence[OutputFile]


def run(context: RunContext) -> Outcome:
    """Carry out one job.

    Raises:
        StoppedError: the reporter said so.
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
    """
    started = time.monotonic()
    report = context.report
    report.phase(Phase.LOADING)
    access = context.models
    source = fetch(
        parse_model_source(context.spec.model),
        roots=access.roots,
        hub_endpoint=access.hub_endpoint,
        hub_cache=access.hub_cache,
    )
    recipe = context.spec.recipe
    adapter = adapt(
        load_model(source.directory),
        split_qkv=recipe.split_qkv,
        include_bridge=recipe.include_bridge,
    )
    report.progress(LOADED)
    batches = _calibration(context, adapter)
    report.progress(CALIBRATED)
    report.phase(Phase.PRUNING)
    pruned = prune(adapter, recipe, batches, _BlockReporter(report))
    report.progress(PRUNED)
    files_out = _export(context, source, adapter, pruned)
    seconds = round(time.monotonic() - started, 3)
    result = {
        "sparsity": pruned.model.sparsity,
        "weights": pruned.model.weights,
        "zeros": pruned.model.zeros,
        "modalities": {name: tally.sparsity for name, tally in pruned.modalities.items()},
        "seconds": seconds,
        "warnings": list(pruned.warnings),
    }
    return Outcome(result, files_out)


def _calibration(context: RunContext, adapter: Adapter) -> list[Batch]:
    spec = context.spec.calibration
    if spec is None:
        return []
    context.report.phase(Phase.CALIBRATING)
    records = calibration_sets.load(spec, context.spec.recipe.seed)
    made = adapter.batches(records, batch_size=spec.batch_size, max_length=spec.max_length)
    return list(made)


def _export(
    context: RunContext, source: ModelFiles, adapter: Adapter, pruned: PruningReport
) -> list[OutputFile]:
    report, staging = context.report, context.staging
    report.phase(Phase.EXPORTING)
    export_checkpoint(source.directory, staging, adapter.matrices)
    report.progress(EXPORTED)
    report.phase(Phase.VERIFYING)
    verify_sparsity(staging, pruned.matrices)
    report.progress(VERIFIED)
    files.write_json(staging, REPORT, pruned.model_dump(mode="json"))
    return files.close_run(staging, _provenance(context, source))


def _provenance(context: RunContext, source: ModelFiles) -> dict[str, Any]:
    libraries = ("secateur", "torch", "transformers", "safetensors")
    return {
        "job": context.spec.model_dump(mode="json"),
        "model_revision": source.revision,
        "versions": {name: version(name) for name in libraries},
    }


def _warn(report: Reporter, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        report.event(NewEvent(EventType.WARNING, sentence, EventLevel.WARNING))


class _BlockReporter:
    """Turns the engine's progress into the job's."""

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def __call__(self, progress: Progress) -> None:
        _warn(self._report, progress.warnings)
        message = f"{progress.phase} {progress.block}"
        data = {"block": progress.block, "done": progress.done, "total": progress.total}
        self._report.event(NewEvent(EventType.BLOCK, message, data=data))
        share = CALIBRATED + (PRUNED - CALIBRATED) * progress.done / max(progress.total, 1)
        self._report.progress(share)
