"""What smaller models keep: the metric of each reference model, per record, dense and reduced."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from app.recipes.recovery import Recovery
from app.recipes.structure import Step
from benchmarks.quality import cell
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import Record
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.metric import OwnMetric
from workers.pipeline.run.recovery import answered
from workers.pruning.calibration.outputs import Known, learn_by_heart, lessons_of
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.loading import load_model
from workers.pruning.recovery.model import recover_model
from workers.pruning.resume import NoCheckpoints
from workers.pruning.structure.reduce import check_outputs, reduce
from workers.pruning.structure.sizes import ModelSize

BATCH, LENGTH = 16, 128


@dataclass(frozen=True)
class Sample:
    """How many records are looked at, and how often they are drawn anew."""

    calibration: int
    evaluation: int
    draws: int


@dataclass(frozen=True)
class Kept:
    """One reduced model.

    Attributes:
        scores: of every record, each draw of the calibration set after the other.
        ratio: share of the parameters in blocks that is left.
        seconds: of CPU, to reduce it.
    """

    scores: tuple[RecordScores, ...]
    ratio: float
    seconds: float

    @property
    def value(self) -> float:
        """Mean over the draws."""
        return sum(each.value for each in self.scores) / len(self.scores)


def dense(name: str, sample: Sample) -> float:
    """The metric of the model as it is."""
    subject = cell.find_subject(name)
    records = cell.records_of(subject.data, Purpose.EVALUATION, sample.evaluation, 0)
    with cell.measuring(cell.load(name), subject.metric, records) as (metric, looked_at):
        return metric.before(looked_at)[subject.metric].value


def reduced(name: str, step: Step, sample: Sample, recovery: Recovery | None = None) -> Kept:
    """The metric of what a step leaves, from the files that it writes.

    Args:
        name: of the reference model.
        step: what is taken out.
        sample: of the records.
        recovery: training of the model that is left.
    """
    found, ratio, seconds = [], 0.0, 0.0
    for seed in range(sample.draws):
        scores, ratio, each = _draw(name, step, sample, seed, recovery)
        found.append(scores)
        seconds += each
    return Kept(tuple(found), ratio, seconds / sample.draws)


def _draw(
    name: str, step: Step, sample: Sample, seed: int, recovery: Recovery | None
) -> tuple[RecordScores, float, float]:
    subject = cell.find_subject(name)
    records = cell.records_of(subject.data, Purpose.EVALUATION, sample.evaluation, 0)
    shown = cell.records_of(subject.data, Purpose.CALIBRATION, sample.calibration, seed)
    adapter = cell.load(name)
    with (
        TemporaryDirectory() as scratch,
        cell.measuring(adapter, subject.metric, records) as (metric, looked_at),
    ):
        if not isinstance(metric, OwnMetric):
            metric.before(looked_at)
        copy_checkpoint(adapter.loaded.directory, Path(scratch))
        given = [record.calibration for record in shown]
        batches = list(adapter.batches(given, batch_size=BATCH, max_length=LENGTH))
        size = ModelSize(adapter)
        begun = time.process_time()
        known = _dense_outputs(adapter, shown, batches) if recovery else []
        made = reduce(adapter, step, batches, Path(scratch))
        left = adapt(load_model(Path(scratch)))
        check_outputs(left, batches[0], made)
        if recovery is not None:
            trained = (left, known, left.matrices, recovery)
            recover_model(*trained, tick=lambda: None, checkpoints=NoCheckpoints())
        seconds = time.process_time() - begun
        after = ModelSize(left)
        ratio = _in_blocks(after) / _in_blocks(size)
        with torch.no_grad():
            found = metric.after(replace(looked_at, adapter=left))[subject.metric]
    return found, ratio, seconds


def _dense_outputs(adapter: Adapter, records: list[Record], batches: list[Batch]) -> list[Known]:
    """What training goes towards: the model's own answers, or all that it gives."""
    if adapter.model.can_generate():
        return learn_by_heart(adapter, answered(adapter, records, BATCH, LENGTH))
    return learn_by_heart(adapter, lessons_of(adapter, batches))


def _in_blocks(size: ModelSize) -> int:
    return sum(tower.parameters for tower in size.towers.values())
