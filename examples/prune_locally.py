"""Prune a checkpoint on this machine, without the service.

    .venv/bin/python examples/prune_locally.py MODEL_DIRECTORY OUTPUT_DIRECTORY

The model is one that takes texts. Wanda at 50 %, calibrated on four sentences; a real run takes
some hundred. The output is a checkpoint that plain `transformers` loads.
"""

import sys
from pathlib import Path

from app.recipes.recipe import build_recipe
from workers.pruning.engine.prune import prune
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.loading import load_model

TEXTS = (
    "A red square stands left of a blue circle.",
    "The train to the coast leaves at nine.",
    "Water boils at a lower temperature in the mountains.",
    "She closed the book and looked out of the window.",
)


def main() -> None:
    """Load, calibrate, prune, write."""
    source, destination = map(Path, sys.argv[1:])
    adapter = adapt(load_model(source))
    records = [CalibrationRecord(text=text) for text in TEXTS]
    batches = list(adapter.batches(records, batch_size=2, max_length=64))
    recipe = build_recipe("wanda", {}, "unstructured", sparsity=0.5)
    report = prune(adapter, recipe, batches)
    export_checkpoint(source, destination, adapter.matrices)
    print(f"{report.model.zeros} of {report.model.weights} weights are zero")


if __name__ == "__main__":
    main()
