"""Peak resident memory of one pruning run above the loaded model; prints one JSON line, MiB.

`allowed` is what the engine claims: what one block keeps while it runs on one batch, plus the
statistics of one block and the work space of its largest matrix, plus the cached block inputs.
"""

import gc
import json
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from app.recipes.recipe import build_recipe
from benchmarks.engine.models import batches
from workers.pruning.engine.prune import prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Tower
from workers.pruning.models.loading import load_model

MIB = 1 << 20


def status(field: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if field in x)
    return int(line.split()[1]) / 1024


def main(directory: str, method: str, samples: int) -> None:
    torch.set_num_threads(1)
    adapter = adapt(load_model(Path(directory)))
    for tensor in adapter.model.state_dict().values():
        tensor.copy_(tensor.clone())  # files are mapped lazily: bring every page in
    inputs = batches(adapter, samples)
    with torch.no_grad():
        adapter.forward(inputs[0])  # libraries allocate their buffers
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = status("VmRSS")
    prune(adapter, build_recipe(method, {}, "unstructured", sparsity=0.5), inputs)
    print(json.dumps({"peak": status("VmHWM") - before, **claimed(adapter, method, inputs)}))


def claimed(adapter: Adapter, method: str, inputs: list[Batch]) -> dict[str, float]:
    """What the engine may hold at once, MiB."""
    activations = cached = statistics = workspace = 0.0
    for tower in adapter.towers:
        tokens = tokens_of(adapter, tower, inputs[0])
        for block in tower.blocks:
            shapes = [tuple(matrix.weight.shape) for matrix in block.matrices]
            width = sum(rows + columns for rows, columns in shapes)
            heads = adapter.model.config.get_text_config().num_attention_heads
            activations = max(activations, 4.0 * tokens * (width + heads * tokens))
            features = [columns for _rows, columns in shapes]
            if method == "sparsegpt":
                statistics = max(statistics, 8.0 * sum(c * c for c in features))
                largest = max(c * c for c in features)
                matrix = max(rows * columns for rows, columns in shapes)
                workspace = max(workspace, 4.0 * (5 * largest + 3 * matrix))
            else:
                workspace = max(workspace, 4.0 * 4 * max(r * c for r, c in shapes))
        # Hidden states of every batch, and as much again for what comes with them.
        cached = max(cached, 4.0 * tokens * block.matrices[0].weight.shape[1] * len(inputs) * 2)
    total = activations + statistics + workspace + cached
    return {"allowed": total / MIB, "inputs": cached / MIB}


def tokens_of(adapter: Adapter, tower: Tower, batch: Batch) -> int:
    """Tokens that one batch gives the tower."""
    seen = []
    hook = tower.blocks[0].module.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((args or tuple(kwargs.values()))[0]), with_kwargs=True
    )
    with torch.no_grad():
        adapter.forward(batch)
    hook.remove()
    return seen[0].shape[:-1].numel()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
