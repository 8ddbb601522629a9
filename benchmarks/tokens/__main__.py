"""`make bench-tokens`: choices of tokens on a LLaVA of 144 image tokens; last line JSON.

The model is trained below `.bench-tokens` where it is not there (`grow`). Then exact answers on 500
records after pruning with 128 others, each method beside Wanda with a paired interval, and the CPU
seconds of `atv` beside two-pass Wanda's, taken in turns.
"""

import argparse
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from app.recipes.data import Tokens
from app.recipes.evaluation import MetricName
from app.recipes.recipe import build_recipe
from benchmarks.figures import Figure, conclude
from benchmarks.quality import cell
from benchmarks.tokens.grow import LENGTH, grown
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pruning.engine.prune import prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

SHOWN, JUDGED, BATCH = 128, 500, 16
SPARSITIES = (0.5, 0.6, 0.7, 0.8)
METHODS: dict[str, tuple[str, dict[str, Any], Tokens]] = {
    "wanda": ("wanda", {}, "all"),
    "atv": ("atv", {}, "atv"),
    "tamp": ("tamp", {}, "amia"),
    "sparsegpt": ("sparsegpt", {}, "all"),
    "sparsegpt, tokens atv": ("sparsegpt", {}, "atv"),
    "sparsegpt, tokens amia": ("sparsegpt", {}, "amia"),
    "recommended": ("recommended", {}, "all"),
    "recommended, tokens atv": ("recommended", {}, "atv"),
}
ROUNDS = 3


def main() -> int:
    """Train, prune, compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=Path(".bench-tokens"))
    parser.add_argument("--sparsities", type=float, nargs="+", default=list(SPARSITIES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.place.mkdir(exist_ok=True)
    model = grown(options.place)
    dense = _measured(adapt(load_model(model)))
    print(f"dense {dense.value:.3f}", flush=True)
    figures = {"dense": Figure(dense.value)}
    for sparsity in options.sparsities:
        scores = {}
        for name in METHODS:
            adapter = adapt(load_model(model))
            seconds = _prune(adapter, name, sparsity)
            scores[name] = _measured(adapter)
            found = compare(scores["wanda"], scores[name], seed=0)
            print(
                f"{sparsity:.0%} {name:26s} {found.after.value:.3f}  beside wanda "
                f"[{found.change.low:+.3f}, {found.change.high:+.3f}]  {seconds:.1f} s",
                flush=True,
            )
            figures[f"{sparsity:.0%} {name}"] = Figure(found.after.value)
    seconds: dict[str, list[float]] = {"wanda": [], "atv": [], "tamp": []}
    for _, name in product(range(ROUNDS), seconds):
        seconds[name].append(_prune(adapt(load_model(model)), name, 0.5))
    wanda = median(seconds["wanda"])
    figures["CPU seconds of atv / two-pass wanda"] = Figure(
        median(seconds["atv"]) / wanda, most=1.7
    )
    figures["CPU seconds of tamp / two-pass wanda"] = Figure(median(seconds["tamp"]) / wanda)
    return conclude(figures)


def _prune(adapter: Adapter, name: str, sparsity: float) -> float:
    """Prune in place; returns the CPU seconds."""
    method, parameters, tokens = METHODS[name]
    recipe = build_recipe(method, parameters, "unstructured", sparsity=sparsity)
    records = cell.records_of("scenes", Purpose.CALIBRATION, SHOWN, 0)
    shown = [record.calibration for record in records]
    batches = list(adapter.batches(shown, batch_size=BATCH, max_length=LENGTH))
    begun = time.process_time()
    prune(adapter, recipe, batches, tokens=tokens)
    return time.process_time() - begun


def _measured(adapter: Adapter) -> RecordScores:
    records = cell.records_of("scenes", Purpose.EVALUATION, JUDGED, 0)
    with cell.measuring(adapter, MetricName.ACCURACY, records) as (metric, looked_at):
        return metric.after(looked_at)[MetricName.ACCURACY]


if __name__ == "__main__":
    sys.exit(main())
