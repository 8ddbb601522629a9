"""The llm-compressor side of `engine.py`; runs in llm-compressor's own environment.

Reads `<method> <mask structure>` lines, prunes a fresh copy of the model for each and answers with
the CPU seconds of `oneshot` and the sparsity it left.
"""

import json
import sys
import time

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from loguru import logger
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

MODIFIERS = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}


def prune(model: PreTrainedModel, method: str, structure: str, ids: Tensor, batch: int) -> None:
    """Prune to a half in place, calibrated on rows of token ids."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids]
    oneshot(
        model=model,
        recipe=MODIFIERS[method](
            sparsity=0.5,
            mask_structure="0:0" if structure == "unstructured" else structure,
            targets=["Linear"],
            ignore=["lm_head"],
        ),
        processor=tokenizer,  # asked for although the inputs are tokens already
        dataset=DataLoader(samples, batch_size=batch),
        num_calibration_samples=len(samples),
        max_seq_length=ids.shape[1],
        pipeline="sequential",
    )


def sparsity_of(model: PreTrainedModel) -> float:
    """Share of zeros in the projections."""
    weights = [m.weight for n, m in model.named_modules() if n.endswith("_proj")]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def main(directory: str, ids_file: str, batch_size: int) -> None:
    torch.set_num_threads(1)
    logger.remove()
    ids = torch.load(ids_file)
    for line in sys.stdin:
        method, structure = line.split()
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
        started = time.process_time()
        prune(model, method, structure, ids, batch_size)
        answer = {"seconds": time.process_time() - started, "sparsity": sparsity_of(model)}
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
