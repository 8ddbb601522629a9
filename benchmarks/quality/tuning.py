"""One cell of table 2: prune once, fine-tune on a task with the masks kept, measure there.

The protocol of MULTIFLOW (Farina et al., CVPR 2024, section 4: task-agnostic pruning) at the scale
of the scenes models. The mask is found on questions that none of the tasks asks; fine-tuning sees
the training split, the figure is that of the test split.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from app.recipes.evaluation import MetricName
from benchmarks.quality.cell import load, measuring, prune_as_told
from workers.pipeline.data.record import Record
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.scenes.samples import samples
from workers.scenes.splits import Split

BATCH = 16
PEAK = 3e-4
_WARM_UP = 20


@dataclass(frozen=True)
class Task:
    """A downstream task of one of the scenes models; `kinds` are kinds of questions."""

    name: str
    subject: str
    kinds: tuple[str, ...]
    metric: MetricName


CALIBRATION_KINDS = ("digits", "cell", "exists")
TASKS = (
    Task("captioning", "scenes-llava", ("caption",), MetricName.ACCURACY),
    Task(
        "question answering",
        "scenes-llava",
        ("digit", "colour", "position", "count", "relation"),
        MetricName.ACCURACY,
    ),
    Task("retrieval", "scenes-clip", ("caption",), MetricName.TEXT_RECALL_1),
)


@dataclass(frozen=True)
class TunedCell:
    """What is pruned how, and for how many steps it is then trained."""

    task: str
    pruner: str
    sparsity: float
    seed: int
    calibration: int
    samples: int
    steps: int


def records(task: Task, split: Split, seed: int) -> Iterator[Record]:
    """Records of the task without end, its kinds in turn."""
    return _records(task.subject, task.kinds, split, seed)


def _records(subject: str, kinds: tuple[str, ...], split: Split, seed: int) -> Iterator[Record]:
    streams = [samples(split, seed=seed, kind=kind) for kind in kinds]
    for sample in chain.from_iterable(zip(*streams, strict=True)):
        if subject == "scenes-clip":
            yield Record(text=sample.scene.key, image=sample.image)
        else:
            yield Record(prompt=sample.question, answer=sample.answer, image=sample.image)


def compute(cell: TunedCell) -> dict[str, Any]:
    """Prune, train, measure."""
    started = time.process_time()
    task = next(each for each in TASKS if each.name == cell.task)
    adapter = load(task.subject)
    shown = _records(task.subject, CALIBRATION_KINDS, Split.CALIBRATION, cell.seed)
    reached = 0.0
    if cell.sparsity:
        reached = prune_as_told(
            adapter, cell.pruner, cell.sparsity, cell.seed, list(islice(shown, cell.calibration))
        )
    tune(adapter, task, cell.steps, cell.seed)
    judged = list(islice(records(task, Split.TEST, 0), cell.samples))
    with measuring(adapter, task.metric, judged) as (metric, looked_at):
        found = metric.before(looked_at)[task.metric]
    return {
        "cell": asdict(cell),
        "metric": task.metric,
        "value": found.value,
        "values": [round(float(v), 6) for v in found.values],
        "weights": [float(w) for w in found.weights],
        "sparsity": reached,
        "kept": sum(int((m.weight == 0).sum()) for m in adapter.matrices)
        / sum(m.numel for m in adapter.matrices),
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def tune(adapter: Adapter, task: Task, steps: int, seed: int) -> None:
    """AdamW with a linear decay; weights that are zero stay zero."""
    model = adapter.model
    masks = {m.parameter: m.parameter != 0 for m in adapter.matrices}
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.0)
    stream = records(task, Split.TRAIN, 1000 + seed)
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = PEAK * min(1, (step + 1) / _WARM_UP, (steps - step) / steps)
        optimiser.zero_grad()
        loss(adapter, list(islice(stream, BATCH))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for parameter, mask in masks.items():
                parameter.mul_(mask)
    model.eval()


def loss(adapter: Adapter, rows: list[Record]) -> Tensor:
    """Contrastive for pairs; of the answer and the end token for questions."""
    if rows[0].prompt is None:
        pairs = [row.calibration for row in rows]
        return adapter.loss(next(adapter.batches(pairs, batch_size=BATCH, max_length=128)))
    end = adapter.tokenizer.eos_token
    full = [Record(row.full_text + f" {end}", row.image).calibration for row in rows]
    asked = [Record(row.prompt, row.image).calibration for row in rows]
    batch = next(adapter.batches(full, batch_size=BATCH, max_length=128))
    lengths = [adapter.encode(each, 128)["input_ids"].shape[1] for each in asked]
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED_LABEL)
    for row, length in enumerate(lengths):
        labels[row, :length] = IGNORED_LABEL
    logits = adapter.call(batch).logits
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL
    )
