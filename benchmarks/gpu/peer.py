"""llm-compressor on the same checkpoint; runs in an interpreter that has it, and nothing of ours.

`python peer.py <source> <method> <ids> <batch>`: prunes the language tower to a half; the last line
is JSON.
"""

import json
import sys
import time

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from loguru import logger
from tokenizers import Tokenizer, models
from torch.utils.data import DataLoader
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedTokenizerFast

MODIFIERS = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}


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
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]
    model = language_tower(source)
    recipe = MODIFIERS[method](
        sparsity=0.5, mask_structure="0:0", targets=["Linear"], ignore=["lm_head"]
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    begun = time.monotonic()
    oneshot(
        model=model,
        recipe=recipe,
        processor=tokenizer,  # asked for although the inputs are tokens already
        dataset=DataLoader(samples, batch_size=batch),
        num_calibration_samples=len(samples),
        max_seq_length=ids.shape[1],
        pipeline="sequential",
    )
    peak = 0.0
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**20
    seconds = time.monotonic() - begun
    weights = [m.weight for n, m in model.named_modules() if n.endswith("_proj")]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    print(json.dumps({"seconds": seconds, "sparsity": zeros, "allocated": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
