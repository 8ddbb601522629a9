"""The pipeline: load -> calibrate -> evaluate -> prune -> evaluate -> export -> verify -> measure.

Where memory runs out, the whole run is tried again with half the batch size.
"""

import gc
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from app.domain.bill_of_materials import Findings
from app.domain.job_result import JobResult
from app.domain.jobs import EventType, NewEvent, Phase
from app.planning.model_files.files import architecture, read_config
from app.recipes.evaluation import EvaluationReport, GateReport, QualityGateError, in_files
from app.recipes.modality import Modality
from app.recipes.pruning_report import REPORT_FILE, PruningReport, unpruned
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from app.recipes.runtime_support import runtime_support
from app.recipes.search import SearchReport
from app.reports.sections import sections
from workers.pipeline import sharing
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pipeline.context import Reporter, RunContext, interruptible
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation.stage import Evaluation
from workers.pipeline.evaluation.subject import Subject
from workers.pipeline.export import (
    FOLDER,
    OutputFile,
    close_run,
    hash_files,
    verify_sparsity,
    verify_target,
    write_bill,
    write_decoder,
    write_json,
    write_masks,
)
from workers.pipeline.reports.card import (
    Front,
    base_name,
    how_it_was_made,
    read_licence,
    write_reports,
)
from workers.pipeline.run.out_of_memory import smaller
from workers.pipeline.run.quantization import quantizer, rounded
from workers.pipeline.run.recovery import Teacher
from workers.pipeline.run.result_files import judge_files
from workers.pipeline.run.route import route
from workers.pipeline.run.search import Searcher, Try
from workers.pipeline.run.structure import take_out
from workers.pipeline.sharing import measure_in_shards
from workers.pipeline.sources import ModelFiles
from workers.pipeline.stages import (
    RunResult,
    block_reporters,
    calibration_batches,
    checkpoints_of,
    fetch_model,
    load_adapter,
    provenance,
    read_records,
    record_errors_of,
    settled,
    timed,
    warn,
)
from workers.pruning.engine.prune import prune
from workers.pruning.engine.report_builder import ProgressListener
from workers.pruning.memory import out_of_memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import Weights, copy_checkpoint, read_weights, write_back
from workers.pruning.models.layout.replay import Batch
from workers.pruning.resume import Checkpoints

if TYPE_CHECKING:
    from workers.pruning.models.quantization import Quantizer

# Shares of a job's time at which the phases end; pruning is nearly all of it.
LOADED, CALIBRATED, DENSE, PRUNED, EVALUATED, EXPORTED, VERIFIED, MEASURED = (
    *(0.05, 0.1, 0.2, 0.75),
    *(0.85, 0.93, 0.97, 0.99),
)


def run(context: RunContext) -> RunResult:
    """Carry out one job: prune weights, or train a router.

    Where the quality gate fails the job, its files are made only if it asks for them.

    Raises:
        StoppedError: the reporter said so.
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
    """
    recipe = context.spec.recipe
    return route(context, recipe) if isinstance(recipe, Routing) else _prune(context, recipe)


def _prune(context: RunContext, recipe: Recipe) -> RunResult:
    started = time.monotonic()
    report = context.report
    source = fetch_model(context)
    context = settled(context, source)
    adapter = _staged(context, source, recipe)
    if recipe.quantization is not None:
        quantizer(adapter, recipe.quantization)  # what it refuses, it refuses before the work
    report.progress(LOADED)
    data = read_records(context)
    batches = calibration_batches(context, adapter, data)
    report.progress(CALIBRATED)
    with _evaluation(context, adapter, data) or nullcontext() as evaluation:
        if evaluation is not None:
            report.phase(Phase.EVALUATING)
            evaluation.before()
            report.progress(DENSE)
        known = sharing.read_statistics(context, source)
        model = _Model(context, source, data, batches, evaluation, known, adapter)
        checkpoints = checkpoints_of(context, source, data)
        pruned = _pruned(model, recipe, checkpoints)
        _tell(report, pruned.evaluation)
    gate = pruned.evaluation.gate if pruned.evaluation else None
    refused = _refusal(gate, pruned.search)
    if not _wanted(gate):
        return RunResult(timed(JobResult.of(pruned), started), [], refused)
    if context.shared.keep:
        sharing.write_statistics(context.staging, source, pruned, known.digests)
    weights = _export(context, model, pruned)
    if context.spec.measure or context.spec.tasks:
        of = (context, source.directory, model.adapter, checkpoints)
        pruned = judge_files(*of, pruned=pruned, share=(VERIFIED, MEASURED))
    files_out = _describe(context, source, pruned, data, weights)
    result = JobResult.of(pruned).model_copy(update={"sizes": weights.sizes})
    return RunResult(timed(result, started), files_out, refused)


def _staged(context: RunContext, source: ModelFiles, recipe: Recipe) -> Adapter:
    """The dense model; the copy that becomes the result is the one that is worked on."""
    interruptible(lambda: copy_checkpoint(source.directory, context.staging), context.report)
    return load_adapter(context, source.directory, recipe)


def _pruned(model: "_Model", recipe: Recipe, checkpoints: DiskCheckpoints) -> PruningReport:
    """Prune once, or as often as it takes to find what may go."""
    search, gate = model.context.spec.search, model.context.spec.quality_gate
    if search is None or gate is None:
        return model.prune(recipe, checkpoints, Try(checkpoints, DENSE, EVALUATED))

    def prune(each: Try) -> PruningReport:
        # A structure is the same for every sparsity, and another one for every size.
        kept = each.checkpoints if "structure" in search.axes else checkpoints
        return model.prune(search.applied(recipe, each.chosen), kept, each)

    share = (DENSE, EVALUATED)
    return Searcher(search, gate, checkpoints, prune, share).run(model.context.report)


@dataclass(slots=True)
class _Model:
    """A job's model, which can be pruned from its dense state more than once."""

    context: RunContext
    source: ModelFiles
    data: Mapping[Purpose, Dataset]
    batches: Sequence[Batch]
    evaluation: Evaluation | None
    known: sharing.Known
    known_of: tuple[object, ...] | None = field(default=None, init=False)
    adapter: Adapter
    dense: bool = True
    teacher: Teacher | None = None
    quantizer: "Quantizer | None" = None

    def prune(self, recipe: Recipe, checkpoints: Checkpoints, once: Try) -> PruningReport:
        """Carry the recipe out and measure what came of it.

        Args:
            recipe: what to do.
            checkpoints: the structure's.
            once: the time it takes, and checkpoints of this try.
        """
        report = self.context.report
        report.phase(Phase.PRUNING)
        if not self.dense:
            self._restore(recipe)
        settings = recipe.recovery_of("model")
        if settings is not None and self.teacher is None:
            self.teacher = Teacher(self.context, self.adapter, self.data, self.batches)
        self.dense = False
        # Measuring the pruned model takes a share of the time like that of the dense one.
        end = once.begin + (once.end - once.begin) * (PRUNED - DENSE) / (EVALUATED - DENSE)
        *listeners, last = block_reporters(report, recipe, once.begin, end)
        taken = None
        if recipe.structure:
            taken = take_out(
                *(self.context, recipe, self.adapter, self.batches, self.data),
                listeners=listeners,
                checkpoints=checkpoints,
            )
            self._follow(taken.adapter)
        pruned = unpruned(recipe)
        if recipe.zeroes:
            pruned = self._zero(recipe, last, once.checkpoints)
        if taken is not None:
            told = {"structure": taken.report, "warnings": (*taken.warnings, *pruned.warnings)}
            pruned = pruned.model_copy(update=told)
        if settings is not None and self.teacher is not None:
            pruned = self.teacher.teach(self.adapter, settings, pruned, once.checkpoints)
        if recipe.quantization is not None:  # before it is measured: as it is delivered
            self.quantizer, pruned = rounded(self.adapter, recipe.quantization, pruned)
        report.progress(end)
        told = {"evaluation": once.evaluation or self._measured(once.end)}
        model_type = self.adapter.model.config.model_type
        support = runtime_support(self.adapter.kind, model_type, recipe.structure)
        return pruned.model_copy(update=told | {"runtime_support": support})

    def _zero(
        self, recipe: Recipe, listener: ProgressListener, checkpoints: Checkpoints
    ) -> PruningReport:
        context = self.context
        of = recipe.structure, frozenset(each for each in Modality if recipe.sparsity_of(each))
        if self.known_of not in {None, of}:  # what was measured is of other matrices
            self.known = sharing.unmeasured(context)
        self.known_of, known = of, self.known
        calibration = context.spec.calibration
        with record_errors_of(context, self.adapter, self.data):
            pruned = prune(
                self.adapter,
                recipe,
                self.batches,
                listener,
                known.scores or measure_in_shards(context, self.adapter, self.source, self.batches),
                digests=known.digests,
                checkpoints=checkpoints,
                tokens=(calibration.tokens if calibration else None) or "all",
            )
        self.known = known.with_those_of(pruned)
        return pruned

    def _measured(self, progress: float) -> EvaluationReport | None:
        if self.evaluation is None:
            return None
        self.context.report.phase(Phase.EVALUATING)
        found = self.evaluation.after()
        self.context.report.progress(progress)
        return found

    def _restore(self, recipe: Recipe) -> None:
        """The dense model again: what was pruned lies in the staged files."""
        shutil.rmtree(self.context.staging)
        self.context.staging.mkdir()
        self._follow(_staged(self.context, self.source, recipe))
        gc.collect()

    def _follow(self, adapter: Adapter) -> None:
        self.adapter = adapter
        if self.evaluation is not None:
            self.evaluation.follow(adapter)


def _evaluation(
    context: RunContext, adapter: Adapter, data: Mapping[Purpose, Dataset]
) -> Evaluation | None:
    spec = context.spec.evaluation
    if spec is None:
        return None
    dataset = data[Purpose.EVALUATION]
    subject = Subject(adapter, dataset.records, spec, context.report.check)
    return Evaluation(subject, dataset, context.spec.quality_gate)


def _tell(report: Reporter, found: EvaluationReport | None) -> None:
    for name, measured in found.metrics.items() if found else ():
        message = f"{name} {measured.before.value:.4g} -> {measured.after.value:.4g}"
        data = {"metric": name, **measured.model_dump()}
        report.event(NewEvent(EventType.METRIC, message, data=data))
    warn(report, found.warnings if found else ())


def _wanted(gate: GateReport | None) -> bool:
    return gate is None or gate.passed or gate.keep_artifacts


def _refusal(gate: GateReport | None, search: SearchReport | None) -> QualityGateError | None:
    if gate is None or gate.passed:
        return None
    kept = "its files were kept" if gate.keep_artifacts else "its files were not kept"
    if search is not None:
        least = search.tried[0]
        return QualityGateError(
            f"nothing is good enough: at {least.axis} {least.share:g}, the least that was tried, "
            f"{gate.metric} may be {least.at_worst:.4g} worse (upper end of its 95 % interval) "
            f"and may get {gate.max_drop:g} worse; {kept}"
        )
    return QualityGateError(
        f"{gate.metric} got {gate.drop:.4g} worse and may get {gate.max_drop:g} worse; {kept}"
    )


def _export(context: RunContext, model: _Model, pruned: PruningReport) -> Weights:
    """Write what is left of the weights, and check the files; no one writes to them any more."""
    report, staging, adapter = context.report, context.staging, model.adapter
    report.phase(Phase.EXPORTING)
    write_back(staging, adapter.matrices, adapter.memory)
    if model.quantizer is not None:
        model.quantizer.write(staging)
    report.progress(EXPORTED)
    report.phase(Phase.VERIFYING)
    weights = read_weights(staging)
    verify_sparsity(weights.zeros, pruned.matrices, pruned.quantization)
    verify_target(pruned)
    if pruned.matrices:
        write_masks(staging / FOLDER, adapter, pruned.matrices)
    write_decoder(staging / FOLDER)
    report.progress(VERIFIED)
    return weights


def _describe(
    context: RunContext,
    source: ModelFiles,
    pruned: PruningReport,
    data: Mapping[Purpose, Dataset],
    weights: Weights,
) -> list[OutputFile]:
    """Write reports, card, page and bill of materials, and the manifest over all files."""
    staging = context.staging
    shown = in_files(pruned.evaluation, context.spec.evaluation)
    pruned = pruned.model_copy(update={"evaluation": shown})
    write_json(staging, REPORT_FILE, pruned.model_dump(mode="json"))
    result = JobResult.of(pruned).model_copy(update={"sizes": weights.sizes})
    licence = read_licence(source.directory)
    front = Front.of(context.spec, pruned, licence)
    last = how_it_was_made(context.spec, pruned)
    write_reports(staging, front, sections(result, pruned), last)
    origin = provenance(context, source, data)
    findings = Findings(
        base=base_name(context.spec),
        architecture=architecture(read_config(source.directory)),
        licence=licence,
        sparsity=pruned.model.sparsity if pruned.matrices else None,
        evaluation=pruned.evaluation,
    )
    files = hash_files(staging, weights.digests)
    files.append(write_bill(staging, files, origin, findings))
    return close_run(staging, files, origin)


def run_with_smaller_batches(context: RunContext) -> RunResult:
    """Carry out one job as `run` does; out of memory, again in a way that takes less.

    First a GPU's activations wait in the host's memory, which changes no bit of the result; then
    the batch size is halved. A model that was half pruned when memory ran out is of no use, so each
    try loads it anew.

    Raises:
        OutOfMemoryError: one record at a time is too much.
        StoppedError: the reporter said so.
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
    """
    while True:
        try:
            return run(context)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        # Here the exception is gone, and with it the frames that held the model.
        context = smaller(context)
