"""The engine's side: CPU seconds of whole runs."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from app.recipes.recipe import build_recipe
from benchmarks.engine.models import SAMPLES, batches
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


class Ours:
    """The engine on one model, weights restored before every run."""

    def __init__(self, directory: Path) -> None:
        self.adapter = adapt(load_model(directory))
        self._dense = [matrix.weight.clone() for matrix in self.adapter.matrices]
        self._batches = batches(self.adapter, SAMPLES)

    def forward(self) -> float:
        for matrix, dense in zip(self.adapter.matrices, self._dense, strict=True):
            matrix.weight.copy_(dense)
        with torch.no_grad():
            return timed(lambda: [self.adapter.forward(batch) for batch in self._batches])

    def run(self, method: str, pattern: str) -> tuple[float, float]:
        """CPU seconds, and the same in dense forwards."""
        recipe = build_recipe(method, {}, pattern, sparsity=0.5)
        before = self.forward()
        seconds = timed(lambda: prune(self.adapter, recipe, self._batches))
        after = self.forward()
        return seconds, 2 * seconds / (before + after)
