"""`make bench-fisher`: H plus the empirical Fisher of the loss, under SparseGPT and ADMM.

MOONSHOT (Afriat et al., arXiv 2604.13287) prunes by a sum of the layer's reconstruction and the
second-order term of the loss. Here a matrix's statistic is H / tr H + share x F / tr F with
F = sum over records of G^T G, G the gradient (out, in) of the dense model's loss on one record: the
mean of the Fishers of its rows, so that rows still share one matrix. This is our reading of the
idea, not the paper's algorithm. Share 0 is the method as it is. The last line is JSON.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from app.recipes.recipe import build_recipe
from benchmarks.figures import Figure, conclude
from benchmarks.quality import cell
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pipeline.evaluation.metric import OwnMetric
from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.engine import prune as engine
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix

RECORDS, BATCH, LENGTH = 64, 16, 128
ALONE = 2  # records differentiated together: contrastive losses need two
SUBJECTS = ("scenes-llava", "scenes-clip")
METHODS = ("sparsegpt", "admm")
TARGETS = (("unstructured", 0.6), ("unstructured", 0.7), ("unstructured", 0.8), ("2:4", 0.5))
SHARES = (0.0, 0.1, 1.0, 10.0)


def main() -> int:
    """Print a table; returns the exit code."""
    torch.set_num_threads(1)
    figures = {}
    for subject, method, (pattern, sparsity) in product(SUBJECTS, METHODS, TARGETS):
        plain: RecordScores | None = None
        for share in SHARES:
            scores = _measured(subject, method, pattern, sparsity, share)
            plain = plain or scores
            found = compare(plain, scores, seed=0)
            name = f"{subject} {method} {pattern} {sparsity:.0%}, share {share:g}"
            print(
                f"{name:56s} {found.after.value:.3f}  "
                f"[{found.change.low:+.3f}, {found.change.high:+.3f}]",
                flush=True,
            )
            figures[name] = Figure(found.after.value)
    return conclude(figures)


def _measured(name: str, method: str, pattern: str, sparsity: float, share: float) -> RecordScores:
    subject = cell.find_subject(name)
    judged = cell.records_of(subject.data, Purpose.EVALUATION, subject.samples, 0)
    shown = cell.records_of(subject.data, Purpose.CALIBRATION, RECORDS, 0)
    records = [record.calibration for record in shown]
    recipe = build_recipe(method, {}, pattern, sparsity=sparsity)
    adapter = cell.load(name)
    batches = list(adapter.batches(records, batch_size=BATCH, max_length=LENGTH))
    alone = list(adapter.batches(records, batch_size=ALONE, max_length=LENGTH))
    with cell.measuring(adapter, subject.metric, judged) as (metric, looked_at):
        if not isinstance(metric, OwnMetric):
            metric.before(looked_at)
        fisher = _fisher(adapter, alone) if share else {}
        with _mixing(fisher, share):
            engine.prune(adapter, recipe, batches)
        return metric.after(looked_at)[subject.metric]


def _fisher(adapter: Adapter, batches: Sequence[Batch]) -> dict[Matrix, Tensor]:
    """Sum of G^T G, (in, in), float64, of every matrix the loss depends on."""
    sums: dict[Matrix, Tensor] = {}

    def take(matrix: Matrix, gradient: Tensor) -> None:
        wide = gradient.double()
        sums[matrix] = sums.get(matrix, 0) + wide.T @ wide

    for batch in batches:
        each_gradient(adapter, batch, adapter.matrices, take)
    return sums


@contextmanager
def _mixing(fisher: Mapping[Matrix, Tensor], share: float) -> Any:
    """Inside, what prunes a matrix is shown the mixed statistic."""
    original = engine.block_by_block

    def mixed(prune_one: Any, matrix: Matrix, weight: Tensor, found: Any) -> Any:
        seen = found
        if share and matrix in fisher and isinstance(found, Hessian):
            seen = Hessian(len(found.total), found.total.device)
            gradients = fisher[matrix]
            seen.total = found.total / found.total.trace()
            seen.total += share * gradients / gradients.trace().clamp(min=1e-300)
            seen.samples = 1
        return prune_one(matrix, weight, seen)

    def block_by_block(stage: Any, selections: Any, statistic: Any, prune_one: Any) -> None:
        original(stage, selections, statistic, partial(mixed, prune_one))

    with patch.object(engine, "block_by_block", block_by_block):
        yield


if __name__ == "__main__":
    sys.exit(main())
