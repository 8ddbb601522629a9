"""One cell of table 1: prune a model once and measure it."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from app.recipes.evaluation import EvaluationSpec, MetricName
from app.recipes.methods import WEIGHT_METHODS
from app.recipes.recipe import build_recipe
from benchmarks.quality.grid import PROSE, SUBJECTS, Subject
from benchmarks.quality.pruners import find_pruner
from benchmarks.quality.texts import prose
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import Record
from workers.pipeline.data.source import load_dataset
from workers.pipeline.evaluation import subject as evaluation
from workers.pipeline.evaluation.metric import Metric, OwnMetric
from workers.pipeline.evaluation.stage import METRICS
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

DENSE = "dense"
_BATCH = 16
_LENGTH = 128


@dataclass(frozen=True)
class Cell:
    """What is pruned how; `calibration` and `samples` count records."""

    subject: str
    pruner: str
    sparsity: float
    seed: int
    calibration: int
    samples: int


def find_subject(name: str) -> Subject:
    """The subject of that name."""
    return next(subject for subject in SUBJECTS if subject.name == name)


def load(name: str) -> Adapter:
    """The subject's model, from disk."""
    directory = find_subject(name).directory
    if directory is None:
        raise FileNotFoundError(f"{name} is not here; see docs/quality/README.md")
    return adapt(load_model(directory))


def prune_as_told(
    adapter: Adapter, pruner: str, sparsity: float, seed: int, records: list[Record]
) -> float:
    """Prune in place and return the sparsity reached."""
    chosen = find_pruner(pruner)
    parts = chosen.parts | {"sparsity": sparsity, "seed": seed}
    recipe = build_recipe(chosen.method, chosen.parameters, "unstructured", **parts)
    batches = []
    if WEIGHT_METHODS[chosen.method].needs_data:
        shown = [record.calibration for record in records]
        batches = list(adapter.batches(shown, batch_size=_BATCH, max_length=_LENGTH))
    return prune(adapter, recipe, batches).model.sparsity


@contextmanager
def measuring(
    adapter: Adapter, name: MetricName, records: list[Record]
) -> Iterator[tuple[Metric, evaluation.Subject]]:
    """A metric and what it looks at, in evaluation mode and without gradients."""
    spec = EvaluationSpec(set="scenes", max_length=_LENGTH, batch_size=64, metrics=(name,))
    kind = next(metric for metric in METRICS if name in metric.names)
    with TemporaryDirectory() as scratch, torch.no_grad(), evaluating(adapter.model):
        yield kind(Path(scratch)), evaluation.Subject(adapter, records, spec)


def compute(cell: Cell) -> dict[str, Any]:
    """Prune, measure; the row keeps a value per record, so that rows can be paired."""
    started = time.process_time()
    subject = find_subject(cell.subject)
    records = records_of(subject.data, Purpose.EVALUATION, cell.samples, 0)
    adapter = load(cell.subject)
    reached = 0.0
    with measuring(adapter, subject.metric, records) as (metric, looked_at):
        if cell.pruner == DENSE or not isinstance(metric, OwnMetric):
            found = metric.before(looked_at)[subject.metric]
        if cell.pruner != DENSE:
            shown = records_of(subject.data, Purpose.CALIBRATION, cell.calibration, cell.seed)
            with torch.enable_grad():  # gradient-based methods differentiate the loss
                reached = prune_as_told(adapter, cell.pruner, cell.sparsity, cell.seed, shown)
            found = metric.after(looked_at)[subject.metric]
    return {
        "cell": asdict(cell),
        "metric": subject.metric,
        "value": found.value,
        "values": [round(float(v), 6) for v in found.values],
        "weights": [float(w) for w in found.weights],
        "sparsity": reached,
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def records_of(name: str, part: Purpose, samples: int, seed: int) -> list[Record]:
    """So many records of a set; none for methods that look at none."""
    if not samples:
        return []
    if name == PROSE:
        return prose(part, seed)[:samples]
    return list(load_dataset(name, part, samples=samples, seed=seed).records)


def model_digest(name: str) -> str:
    """SHA-256 of the subject's weights and configuration."""
    directory = find_subject(name).directory
    found = hashlib.sha256()
    for file in sorted(directory.glob("*")) if directory else ():
        if file.suffix in {".safetensors", ".json"}:
            found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()
