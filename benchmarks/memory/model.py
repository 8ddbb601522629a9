"""A Llama of many small blocks and of any size, written shard by shard."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

HIDDEN, INTERMEDIATE, VOCABULARY = 1024, 2816, 512
BLOCK_BYTES = 2 * (4 * HIDDEN**2 + 3 * HIDDEN * INTERMEDIATE + 2 * HIDDEN)
_PER_SHARD = 8
_ENDS = ("model.embed_tokens", "lm_head")
_MATRICES = {
    **{f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}


def write(directory: Path, size: float) -> int:
    """Write a random bfloat16 checkpoint of so many GB; returns the number of its blocks."""
    layers = max(2, round(size * 1e9 / BLOCK_BYTES))
    directory.mkdir(parents=True)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=layers,
        num_attention_heads=16,
        max_position_embeddings=512,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(directory)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(HIDDEN * INTERMEDIATE, generator=draw).mul_(0.02).bfloat16()

    def matrix(rows: int, columns: int, turn: int) -> torch.Tensor:
        return noise.roll(turn * 997)[: rows * columns].view(rows, columns).clone()

    shard = {f"{name}.weight": matrix(VOCABULARY, HIDDEN, 1) for name in _ENDS}
    shard["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    places: dict[str, str] = {}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for turn, (name, shape) in enumerate(_MATRICES.items()):
            shard[f"{prefix}.{name}.weight"] = matrix(*shape, 7 * layer + turn)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shard[f"{prefix}.{name}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        if layer % _PER_SHARD == _PER_SHARD - 1 or layer == layers - 1:
            file = f"model-{layer // _PER_SHARD:05d}.safetensors"
            save_file(shard, directory / file, {"format": "pt"})
            places |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return layers
