"""One run in a process of its own; prints a line of JSON: peak memory in MiB, CPU seconds, those
of pruning alone.

`python -m benchmarks.memory.run <source> <output> <where> <method> <samples> [<kept> <share>]`:
keeps what it finishes in the directory <kept>, and kills itself once that share of the blocks is
pruned. <where> is memory or disk, <method> one of `METHODS`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from typing import Any

import torch
import transformers

from app.recipes.recipe import build_recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.recovery import Recovery
from benchmarks.memory.model import VOCABULARY
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.engine.prune import prune
from workers.pruning.engine.report_builder import Progress
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, export_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

TOKENS = 64
STEPS = 2  # of training a block: memory is the same for any number
# Name, parameters, other parts of the recipe.
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "wanda": ("wanda", {}, {}),
    "recovered": ("wanda", {}, {"recovery": Recovery(scope="block", steps=STEPS)}),
    "sparsegpt": ("sparsegpt", {}, {}),
    "least-squares": ("wanda", {}, {"reconstruction": LeastSquares()}),
    "admm": ("admm", {}, {}),
    "mixed": ("admm", {"objective": "mixed"}, {"walk": "one-pass"}),
}


def main(first: str, second: str, where: str, method: str, samples: str, *more: str) -> None:
    """Load, prune, export."""
    source, output = Path(first), Path(second)
    kept, at = more or ("", "2")
    on_disk = where != "memory"
    torch.set_num_threads(1)
    assert transformers.LlamaForCausalLM  # imported before the clock starts
    begun = time.process_time()
    memory = Memory(output, activations=0, scratch=output) if on_disk else Memory()
    if on_disk:
        copy_checkpoint(source, output)
    adapter = adapt(load_model(source, memory=memory))
    draw = torch.Generator().manual_seed(1)
    batches = [
        {
            "input_ids": torch.randint(3, VOCABULARY, (4, TOKENS), generator=draw),
            "attention_mask": torch.ones(4, TOKENS, dtype=torch.int64),
        }
        for _ in range(int(samples) // 4)
    ]

    def report(progress: Progress) -> None:
        if progress.done >= float(at) * progress.total:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints = DiskCheckpoints(Path(kept), {}, limit=1 << 40) if kept else None
    name, parameters, parts = METHODS[method]
    recipe = build_recipe(name, parameters, "unstructured", sparsity=0.5, **parts)
    loaded = time.process_time()
    prune(adapter, recipe, batches, report, checkpoints=checkpoints)
    pruned = time.process_time()
    if on_disk:
        write_back(output, adapter.matrices, memory)
    else:
        export_checkpoint(source, output, adapter.matrices)
    seconds = {"seconds": time.process_time() - begun, "pruning": pruned - loaded}
    print(json.dumps({"peak": _peak(), **seconds}))


def _peak() -> float:
    """Most memory this process had, file pages included, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
