"""Measurements that several jobs or several workers share.

1. The members of a sweep share what its first job, the leader, measured on the dense model:
   `calibration/statistics.safetensors`, one digest (in,) float32 for each matrix by its name; in
   its metadata ECoFLaP scores and the fingerprint of the checkpoint they were measured on.
2. The scores of zeroth-order ECoFLaP are measured in shards that any worker can take. A score
   depends on its matrix, its batch and the seed alone, so merged shards are exactly what one worker
   would have measured, whoever measured them and in whatever order.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from safetensors.torch import load, save_file

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.domain.shards import Part, Shard, cut
from app.domain.submission import JobSpec
from app.planning.model_files.files import HubModel, parse_model_source
from app.recipes.allocation import ZerothOrder
from app.recipes.allocation_scores import AllocationScores
from app.recipes.pruning_report import STATISTICS_FILE, PruningReport
from app.recipes.recipe import Recipe
from workers.pipeline.context import JobShards, RunContext
from workers.pipeline.sources import ModelFiles
from workers.pipeline.stages import (
    calibration_batches,
    fetch_model,
    load_to_run,
    read_records,
    settled,
)
from workers.pruning.allocation.ecoflap import measure
from workers.pruning.calibration.walk import first_holding
from workers.pruning.engine.dense_pass import Digests
from workers.pruning.engine.prune import evaluating
from workers.pruning.engine.targets import find_targets
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.replay import Batch


@dataclass(frozen=True, slots=True)
class Known:
    """What need not be measured again."""

    scores: AllocationScores | None
    digests: Digests

    def with_those_of(self, pruned: PruningReport) -> "Known":
        """The same with what a run of the same recipe has measured on the dense model."""
        scores = pruned.allocation.scores if pruned.allocation else self.scores
        return Known(scores, Digests(self.digests.found) if self.digests.found else self.digests)


def write_statistics(
    staging: Path, source: ModelFiles, pruned: PruningReport, digests: Digests
) -> None:
    """Keep what the run measured on the dense model."""
    metadata = {"checkpoint": source.fingerprint}
    if pruned.allocation is not None:
        metadata["scores"] = pruned.allocation.scores.model_dump_json()
    file = staging / STATISTICS_FILE
    file.parent.mkdir()
    save_file(digests.found, file, metadata=metadata)


def unmeasured(context: RunContext) -> Known:
    """Before anything is measured: what the specification has."""
    return Known(context.spec.scores, Digests())


def read_statistics(context: RunContext, source: ModelFiles) -> Known:
    """What the leader measured, if it was on this very checkpoint."""
    content = context.shared.statistics
    if content is None:
        return unmeasured(context)
    metadata = _metadata(content)
    if metadata["checkpoint"] != source.fingerprint:
        message = "the model has changed since the sweep's first job; calibrating anew"
        context.report.event(NewEvent(EventType.WARNING, message, EventLevel.WARNING))
        return unmeasured(context)
    context.report.event(NewEvent(EventType.LOG, "using the calibration of the sweep's first job"))
    scores = metadata.get("scores")
    return Known(
        AllocationScores.model_validate_json(scores) if scores else context.spec.scores,
        Digests(load(content)),
    )


def _metadata(content: bytes) -> dict[str, str]:
    """A safetensors file begins with the length of its header, 8 bytes little-endian."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


_PAUSE = 0.2  # seconds between two looks at an exchange with nothing to take


class _NotWantedError(Exception):
    """The scores of a shard have come from elsewhere, or its job has ended."""


def measure_in_shards(
    context: RunContext, adapter: Adapter, source: ModelFiles, batches: Sequence[Batch]
) -> AllocationScores | None:
    """The scores of the job, others helping; None where there is nothing to share out."""
    recipe, exchange = context.spec.recipe, context.exchange
    if (
        exchange is None
        or not batches
        or not isinstance(recipe, Recipe)
        or settings_of(recipe) is None
    ):
        return None
    work = ShardMeasurer(adapter, recipe, batches)
    parts = cut(len(work.batches), work.blocks)
    exchange.post(_pinned(context.spec, source), parts)
    while (found := exchange.merged()) is None:
        context.report.check()
        shard = exchange.take()
        if shard is None:  # the last ones are out, or the job is no longer ours
            context.report.wait(_PAUSE)
            continue
        measure_shard(work, shard, exchange, context.report.check)
    return found


class ShardMeasurer:
    """One model with its batches, ready to measure any part."""

    def __init__(self, adapter: Adapter, recipe: Recipe, batches: Iterable[Batch]) -> None:
        """Choose the matrices and the batches that are scored.

        Raises:
            RecipeError: the recipe does not fit the model.
            TypeError: it has no zeroth-order scores.
        """
        settings = settings_of(recipe)
        if settings is None:
            raise TypeError("only zeroth-order scores are measured in parts")
        self._adapter = adapter
        self._settings = settings
        self._seed = recipe.seed
        given = list(batches)
        homes = find_targets(adapter.towers, recipe, given).blocks
        self._matrices = list(homes)
        self.blocks = [len(list(group)) for _, group in groupby(homes.values())]
        self.batches = first_holding(given, settings.samples)

    def measure(self, part: Part, check: Callable[[], None]) -> AllocationScores:
        """Scores of the part; `check` is called after every block, and what it raises ends it."""
        with torch.no_grad(), evaluating(self._adapter.model):
            return measure(
                self._adapter,
                self._settings,
                [(part.batch, self.batches[part.batch])],
                self._matrices[part.first : part.last],
                seed=self._seed,
                tick=lambda _batch, _matrix: check(),
            )


def settings_of(recipe: Recipe) -> ZerothOrder | None:
    """The estimator, where its scores are measured in parts: on the model as it is in the files."""
    scoring = recipe.allocation.scoring
    return scoring if isinstance(scoring, ZerothOrder) and not recipe.structure else None


def _pinned(spec: JobSpec, source: ModelFiles) -> JobSpec:
    """What helpers need of the job, its model at the commit this worker has."""
    measured = spec.model_copy(update={"evaluation": None, "quality_gate": None})
    model = parse_model_source(spec.model)
    if not isinstance(model, HubModel) or source.revision is None:
        return measured
    return measured.model_copy(update={"model": f"hf:{model.repo_id}@{source.revision}"})


def measure_shard(
    work: ShardMeasurer, shard: Shard, exchange: JobShards, check: Callable[[], None]
) -> None:
    """Measure a shard and hand it in, unless somebody else is faster.

    Args:
        work: the model and the batches.
        shard: that was taken.
        exchange: where it came from.
        check: called after every block; what it raises ends the measurement.
    """

    def check_wanted() -> None:
        check()
        if not exchange.wanted(shard):
            raise _NotWantedError

    with suppress(_NotWantedError):
        exchange.hand_in(shard, work.measure(shard.part, check_wanted))


class Quiet:
    """The reporter of a helper: reports nothing, for the job's own worker does."""

    def phase(self, phase: Phase) -> None:
        """Do nothing."""

    def progress(self, share: float) -> None:
        """Do nothing."""

    def event(self, event: NewEvent) -> None:
        """Do nothing."""

    def plan(self, seconds: float) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""

    def wait(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def kept(self) -> None:
        """Do nothing."""


def open_work(context: RunContext) -> ShardMeasurer:
    """The model and the batches of a job, as its own worker has them; nothing is written.

    Raises:
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
        TypeError: the job has no parts.
    """
    recipe = context.spec.recipe
    if not isinstance(recipe, Recipe):
        raise TypeError("routers are not trained in parts")
    source = fetch_model(context)
    context = settled(context, source)
    adapter = adapt(
        load_to_run(context, source),
        split_qkv=recipe.split_qkv,
        include_bridge=recipe.include_bridge,
    )
    return ShardMeasurer(
        adapter, recipe, calibration_batches(context, adapter, read_records(context))
    )
