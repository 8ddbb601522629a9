"""The engine's side: CPU seconds of whole runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

    def __init__(self, directory: Path, samples: int = SAMPLES) -> None:
        self.adapter = adapt(load_model(directory))
        self._dense = [matrix.weight.clone() for matrix in self.adapter.matrices]
        self._batches = batches(self.adapter, samples)

    def forward(self) -> float:
        for matrix, dense in zip(self.adapter.matrices, self._dense, strict=True):
            matrix.weight.copy_(dense)
        with torch.no_grad():
            return timed(lambda: [self.adapter.forward(batch) for batch in self._batches])

    def run(self, method: str, pattern: str, **parts: Any) -> tuple[float, float]:
        """CPU seconds, and the same in dense forwards; `parts` are of the recipe."""
        recipe = build_recipe(method, {}, pattern, sparsity=0.5).model_copy(update=parts)
        before = self.forward()
        seconds = timed(lambda: prune(self.adapter, recipe, self._batches))
        after = self.forward()
        return seconds, 2 * seconds / (before + after)
