"""One method on a GPU in a process of its own; the last line is JSON.

`python -m benchmarks.gpu.ours <source> <output> <method> <samples> <batch>`: prunes a copy of
<source> in <output> to a half: the language tower, calibrated on random tokens. `forward` measures
one walk of the dense model, block by block.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import torch
import transformers

from app.recipes.recipe import build_recipe
from benchmarks.gpu.inputs import batches
from workers.pruning.calibration.walk import steps
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import find_device, set_precision
from workers.pruning.models.loading import load_model

PARAMETERS = {"ecoflap": {"estimator": "gradient-norm", "samples": 32}}


def main(source: Path, output: Path, method: str, samples: int, batch: int) -> None:
    """Copy, prune, write."""
    assert transformers.LlavaForConditionalGeneration  # imported before the clock starts
    device = find_device("auto")
    set_precision(tf32=False)
    shutil.rmtree(output, ignore_errors=True)
    copy_checkpoint(source, output)
    memory = Memory(output, scratch=output)
    begun = time.monotonic()
    adapter = adapt(load_model(source, memory=memory, device=device))
    data = [{k: v.to(device) for k, v in each.items()} for each in batches(samples, batch)]
    loaded = time.monotonic()
    found = {"sparsity": 0.0}
    if method == "forward":
        with torch.no_grad(), evaluating(adapter.model):
            last = adapter.towers[-1].blocks[-1]
            for step in steps(adapter, data, last=last):
                step.advance()
    else:
        recipe = build_recipe(
            method,
            PARAMETERS.get(method, {}),
            "unstructured",
            sparsity=0.5,
            ignore=[f"{tower.name}.*" for tower in adapter.towers if "vision" in tower.name],
        )
        marks: list[float] = []
        report = prune(adapter, recipe, data, lambda _: marks.append(time.monotonic()))
        found["sparsity"] = report.model.sparsity
        found["first block"] = marks[0] - loaded
        write_back(output, adapter.matrices, memory)
    if device.type == "cuda":
        torch.cuda.synchronize()
        found["allocated"] = torch.cuda.max_memory_allocated() / 2**20
        found["reserved"] = torch.cuda.max_memory_reserved() / 2**20
    found["loading"] = loaded - begun
    found["seconds"] = time.monotonic() - loaded
    print(json.dumps(found))


if __name__ == "__main__":
    first, second, method, samples, batch = sys.argv[1:]
    main(Path(first), Path(second), method, int(samples), int(batch))
