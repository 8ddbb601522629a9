"""Peak memory of CHITA above the loaded model, in a process of its own; last line is JSON, MiB.

`whole` is the matrix of all per-batch gradients (batches x weights, float32), which CHITA does not
hold. `stated` is what its docstring says: alpha and the new weights, and the rows of one block.
"""

import gc
import json
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.recipes.recipe import build_recipe
from benchmarks.engine.memory import status
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

BATCHES, BLOCKS, LENGTH, VOCABULARY = 32, 12, 32, 256


def main() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
    )
    with tempfile.TemporaryDirectory() as directory:
        LlamaForCausalLM(config).save_pretrained(directory)
        adapter = adapt(load_model(Path(directory)))
    ids = torch.randint(0, VOCABULARY, (BATCHES, 1, LENGTH))
    batches = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in ids]
    recipe = build_recipe("chita", {}, "unstructured", sparsity=0.7)
    weights = sum(matrix.numel for matrix in adapter.matrices)
    adapter.loss(batches[0]).backward()  # what any backward pass needs once
    adapter.model.zero_grad()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = status("VmRSS")
    prune(adapter, recipe, batches)
    peak = status("VmHWM") - before
    mib = 4 / 2**20
    rows = BATCHES * weights / BLOCKS
    figures = {
        "peak": peak,
        "stated": (2 * weights + rows) * mib,
        "whole": BATCHES * weights * mib,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
