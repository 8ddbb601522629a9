"""The pipeline: load -> calibrate -> evaluate -> prune -> evaluate -> export -> verify."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.errors import QualityGateError
from app.recipes.evaluation import EvaluationReport, GateReport
from app.recipes.pruning_report import REPORT_FILE, PruningReport
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from workers.pipeline.beside import beside
from workers.pipeline.context import Reporter, RunContext
from workers.pipeline.data.builtin import Part
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation.stage import Evaluation
from workers.pipeline.evaluation.subject import Subject
from workers.pipeline.export import files
from workers.pipeline.export.files import OutputFile
from workers.pipeline.export.masks import FOLDER, write_masks
from workers.pipeline.export.sizes import Sizes, weigh, write_decoder
from workers.pipeline.export.verify import verify_sparsity, verify_target
from workers.pipeline.reports.card import base_name, read_licence, write_card
from workers.pipeline.reports.page import write_page
from workers.pipeline.reports.plots import plots, write_plots
from workers.pipeline.run.route import route
from workers.pipeline.sharing import sharing
from workers.pipeline.sharing.parts import measure_together
from workers.pipeline.sources import ModelFiles
from workers.pipeline.stages import (
    Outcome,
    calibration_batches,
    checkpoints_of,
    fetch_model,
    load,
    provenance,
    read_records,
    running_on,
    settled,
)
from workers.pruning.engine.prune import prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.resume.progress import Progress

# Shares of a job's time at which the phases end; pruning is nearly all of it.
LOADED, CALIBRATED, DENSE, PRUNED, EVALUATED, EXPORTED, VERIFIED = (
    *(0.05, 0.1, 0.2, 0.75),
    *(0.85, 0.93, 0.97),
)


def run(context: RunContext) -> Outcome:
    """Carry out one job: prune weights, or train a router.

    Where the quality gate fails the job, its files are made only if it asks for them.

    Raises:
        StoppedError: the reporter said so.
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
    """
    recipe = context.spec.recipe
    return route(context, recipe) if isinstance(recipe, Routing) else _prune(context, recipe)


def _prune(context: RunContext, recipe: Recipe) -> Outcome:
    started = time.monotonic()
    report = context.report
    source = fetch_model(context)
    context = settled(context, source)
    # The copy that becomes the result is the one that is worked on.
    beside(lambda: copy_checkpoint(source.directory, context.staging), report)
    adapter = adapt(
        load(context, source),
        split_qkv=recipe.split_qkv,
        include_bridge=recipe.include_bridge,
    )
    report.progress(LOADED)
    data = read_records(context)
    batches = calibration_batches(context, adapter, data)
    report.progress(CALIBRATED)
    with _evaluation(context, adapter, data) or nullcontext() as evaluation:
        if evaluation is not None:
            report.phase(Phase.EVALUATING)
            evaluation.before()
            report.progress(DENSE)
        report.phase(Phase.PRUNING)
        known = sharing.read(context, source)
        with running_on(context, adapter, data):
            pruned = prune(
                adapter,
                recipe,
                batches,
                _BlockReporter(report),
                known.scores or measure_together(context, adapter, source, batches),
                digests=known.digests,
                checkpoints=checkpoints_of(context, source, data),
            )
        report.progress(PRUNED)
        if evaluation is not None:
            report.phase(Phase.EVALUATING)
            pruned = pruned.model_copy(update={"evaluation": evaluation.after()})
            _tell(report, pruned.evaluation)
            report.progress(EVALUATED)
    gate = pruned.evaluation.gate if pruned.evaluation else None
    result = _result(pruned)
    files_out: list[OutputFile] = []
    if _wanted(gate):
        if context.shared.keep:
            sharing.write(context.staging, source, pruned, known.digests)
        sizes, files_out = _export(context, source, adapter, pruned, data)
        result["sizes"] = asdict(sizes)
    result["seconds"] = round(time.monotonic() - started, 3)
    return Outcome(result, files_out, _refusal(gate))


def _evaluation(
    context: RunContext, adapter: Adapter, data: Mapping[Part, Dataset]
) -> Evaluation | None:
    spec = context.spec.evaluation
    if spec is None:
        return None
    dataset = data[Part.EVALUATION]
    subject = Subject(adapter, dataset.records, spec, context.report.check)
    return Evaluation(subject, dataset, context.spec.quality_gate)


def _tell(report: Reporter, found: EvaluationReport | None) -> None:
    for name, measured in found.metrics.items() if found else ():
        message = f"{name} {measured.before.value:.4g} -> {measured.after.value:.4g}"
        data = {"metric": name, **measured.model_dump()}
        report.event(NewEvent(EventType.METRIC, message, data=data))
    _warn(report, found.warnings if found else ())


def _wanted(gate: GateReport | None) -> bool:
    return gate is None or gate.passed or gate.keep_artifacts


def _refusal(gate: GateReport | None) -> QualityGateError | None:
    if gate is None or gate.passed:
        return None
    kept = "its files were kept" if gate.keep_artifacts else "its files were not kept"
    return QualityGateError(
        f"{gate.metric} got {gate.drop:.4g} worse and may get {gate.max_drop:g} worse; {kept}"
    )


def _result(pruned: PruningReport) -> dict[str, Any]:
    result: dict[str, Any] = {
        "sparsity": pruned.model.sparsity,
        "weights": pruned.model.weights,
        "zeros": pruned.model.zeros,
        "target": pruned.target,
        "difference": pruned.difference,
        "modalities": {name: tally.sparsity for name, tally in pruned.modalities.items()},
        "warnings": list(pruned.warnings),
    }
    if pruned.evaluation is not None:
        result["evaluation"] = pruned.evaluation.model_dump(mode="json")
    return result


def _export(
    context: RunContext,
    source: ModelFiles,
    adapter: Adapter,
    pruned: PruningReport,
    data: Mapping[Part, Dataset],
) -> tuple[Sizes, list[OutputFile]]:
    report, staging = context.report, context.staging
    report.phase(Phase.EXPORTING)
    write_back(staging, adapter.matrices, adapter.memory)
    report.progress(EXPORTED)
    report.phase(Phase.VERIFYING)
    verify_sparsity(staging, pruned.matrices)
    verify_target(pruned)
    write_masks(staging / FOLDER, adapter, pruned.matrices)
    write_decoder(staging / FOLDER)
    report.progress(VERIFIED)
    files.write_json(staging, REPORT_FILE, pruned.model_dump(mode="json"))
    sizes = weigh(staging)
    drawn = plots(pruned)
    write_plots(staging, drawn)
    licence = read_licence(source.directory)
    write_card(staging, context.spec, pruned, sizes, licence=licence, drawn=drawn)
    title = f"{base_name(context.spec)}, {context.spec.method}"
    write_page(staging, title, pruned, sizes, drawn)
    return sizes, files.close_run(staging, provenance(context, source, data))


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
        share = DENSE + (PRUNED - DENSE) * progress.done / max(progress.total, 1)
        self._report.progress(share)
