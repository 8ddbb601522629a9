"""Decoders of many small blocks and of any size, written shard by shard: Llama, Qwen3-MoE."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, Qwen3MoeConfig

HIDDEN, INTERMEDIATE, VOCABULARY = 1024, 2816, 512
BLOCK_BYTES = 2 * (4 * HIDDEN**2 + 3 * HIDDEN * INTERMEDIATE + 2 * HIDDEN)
EXPERTS, ROUTED, EXPERT = 128, 8, 128  # in a block, for a token, channels of each
_PER_SHARD = 8
_ENDS = ("model.embed_tokens", "lm_head")
_ATTENTION = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
_EXPERTS = {
    f"mlp.experts.{expert}.{name}_proj": (HIDDEN, EXPERT) if name == "down" else (EXPERT, HIDDEN)
    for expert in range(EXPERTS)
    for name in ("gate", "up", "down")
}
_NORMS = {"input_layernorm": HIDDEN, "post_attention_layernorm": HIDDEN}


def write(
    directory: Path, size: float, *, experts: bool = False, channels: int = INTERMEDIATE
) -> int:
    """Write a random bfloat16 checkpoint of so many GB; returns the number of its blocks.

    Args:
        directory: to be made.
        size: GB.
        experts: mixtures of small experts in place of MLPs.
        channels: of an MLP.
    """
    matrices, norms = _ATTENTION | _mlp(channels), _NORMS
    if experts:
        matrices = _ATTENTION | {"mlp.gate": (EXPERTS, HIDDEN)} | _EXPERTS
        norms = _NORMS | dict.fromkeys(("self_attn.q_norm", "self_attn.k_norm"), HIDDEN // 16)
    numbers = sum(rows * columns for rows, columns in matrices.values())
    layers = max(2, round(size * 1e9 / (2 * numbers)))
    directory.mkdir(parents=True)
    _config(layers, channels, experts=experts).save_pretrained(directory)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(HIDDEN * channels, generator=draw).mul_(0.02).bfloat16()

    def matrix(rows: int, columns: int, turn: int) -> torch.Tensor:
        return noise.roll(turn * 997)[: rows * columns].view(rows, columns).clone()

    shard = {f"{name}.weight": matrix(VOCABULARY, HIDDEN, 1) for name in _ENDS}
    shard["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    places: dict[str, str] = {}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for turn, (name, shape) in enumerate(matrices.items()):
            shard[f"{prefix}.{name}.weight"] = matrix(*shape, 7 * layer + turn)
        for name, width in norms.items():
            shard[f"{prefix}.{name}.weight"] = torch.ones(width, dtype=torch.bfloat16)
        if layer % _PER_SHARD == _PER_SHARD - 1 or layer == layers - 1:
            file = f"model-{layer // _PER_SHARD:05d}.safetensors"
            save_file(shard, directory / file, {"format": "pt"})
            places |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return layers


def _mlp(channels: int) -> dict[str, tuple[int, int]]:
    inner = dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (channels, HIDDEN))
    return inner | {"mlp.down_proj": (HIDDEN, channels)}


def _config(layers: int, channels: int, *, experts: bool) -> LlamaConfig | Qwen3MoeConfig:
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": channels,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "max_position_embeddings": 512,
    }
    if not experts:
        return LlamaConfig(**sizes, architectures=["LlamaForCausalLM"])
    routing = {"num_experts": EXPERTS, "num_experts_per_tok": ROUTED}
    return Qwen3MoeConfig(
        **sizes,
        **routing,
        moe_intermediate_size=EXPERT,
        num_key_value_heads=16,
        head_dim=HIDDEN // 16,
        architectures=["Qwen3MoeForCausalLM"],
    )
