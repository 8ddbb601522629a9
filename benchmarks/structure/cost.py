"""What a reduction costs beside SparseGPT, and how many bytes it and weights in 8 bits leave."""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers as tf

from app.recipes.recipe import build_recipe
from app.recipes.structure import Experts, Width
from benchmarks.structure.speed import llama
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer
from workers.pruning.structure.reduce import reduce

ROUNDS, BATCHES, ROWS, LENGTH = 3, 8, 8, 256


def width_beside_sparsegpt() -> float:
    """CPU seconds of `width` with its defaults, as a share of SparseGPT's on the same inputs."""
    draw = torch.Generator().manual_seed(0)
    batches = [
        {"input_ids": torch.randint(5, 2048, (ROWS, LENGTH), generator=draw)}
        for _ in range(BATCHES)
    ]
    recipe = build_recipe("sparsegpt", {}, "unstructured", sparsity=0.5)
    ratios = []
    for _ in range(ROUNDS):
        with TemporaryDirectory() as scratch:
            source, out = Path(scratch) / "dense", Path(scratch) / "made"
            llama(source)
            copy_checkpoint(source, out)
            begun = time.process_time()
            prune(adapt(load_model(source)), recipe, batches)
            between = time.process_time()
            reduce(adapt(load_model(source)), Width(mlp_removed=0.5), batches, out)
            ratios.append((time.process_time() - between) / (between - begun))
    return median(ratios)


def bytes_of_half_the_experts() -> tuple[float, float]:
    """Bytes once loaded with half of the experts, of the dense ones; the same of parameters."""
    config = tf.Qwen3MoeConfig(
        vocab_size=2048,
        hidden_size=256,
        moe_intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        num_experts=32,
        num_experts_per_tok=4,
    )
    tokens = torch.randint(5, 2048, (8, 128), generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "dense", Path(scratch) / "made"
        torch.manual_seed(0)
        tf.Qwen3MoeForCausalLM(config).save_pretrained(source)
        copy_checkpoint(source, out)
        reduce(adapt(load_model(source)), Experts(removed=0.5), [{"input_ids": tokens}], out)
        models: list[Any] = [tf.AutoModelForCausalLM.from_pretrained(d) for d in (source, out)]
        loaded = [sum(p.nbytes for p in model.parameters()) for model in models]
        experts = config.num_hidden_layers * 3 * config.hidden_size * config.moe_intermediate_size
        gone = config.num_experts // 2 * experts
        every = sum(p.numel() for p in models[0].parameters())
        return loaded[1] / loaded[0], 1 - gone / every


def bytes_in_int8() -> float:
    """Quantised matrices with their scales, as a share of their bytes in bfloat16."""
    with TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "dense", Path(scratch) / "made"
        llama(source)
        stored = tf.LlamaForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
        stored.save_pretrained(source)
        copy_checkpoint(source, out)
        adapter = adapt(load_model(source, memory=Memory(out, scratch=out)))
        report = Quantizer(adapter, "int8").round()
        return report.bytes / report.bytes_before
