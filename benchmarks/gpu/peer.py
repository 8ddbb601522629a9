"""llm-compressor on the same checkpoint; runs in an interpreter that has it, and nothing of ours.

`python -m benchmarks.gpu.peer <source> <method> <ids> <batch>`: prunes the language tower to a
half; the last line is JSON.
"""

import json
import sys
import time

import torch
from loguru import logger
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration

from benchmarks.engine.peer import prune, sparsity_of


def language_tower(source: str) -> LlamaForCausalLM:
    """The tower with its head as a model of its own, in memory."""
    whole = LlavaForConditionalGeneration.from_pretrained(source, dtype="auto")
    with torch.device("meta"):
        model = LlamaForCausalLM(whole.config.text_config)
    model.model, model.lm_head = whole.model.language_model, whole.lm_head
    model.name_or_path = model.config._name_or_path = source  # noqa: SLF001 - it is looked up
    return model.eval()


def main(source: str, method: str, ids_file: str, batch: int) -> None:
    logger.remove()
    ids = torch.load(ids_file)
    model = language_tower(source)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    begun = time.monotonic()
    prune(model, method, "unstructured", ids, batch)
    peak = 0.0
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**20
    seconds = time.monotonic() - begun
    found = {"seconds": seconds, "sparsity": sparsity_of(model), "allocated": peak}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
