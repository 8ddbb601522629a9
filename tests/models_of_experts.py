"""Mixtures of experts, each built tiny and random from its own config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as tf

from tests.tiny_models import VOCABULARY, save, tokenizer

# What configs call the same things; each takes those it has.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "d_model": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 12,
    "expert_ffn_hidden_size": 12,
    "moe_shared_expert_intermediate_size": 12,
    "shared_expert_intermediate_size": 12,
    "shared_intermediate_size": 12,
    "intermediate_size_mlp": 24,
    "ffn_hidden_size": 24,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_layers": 2,
    "num_attention_heads": 4,
    "n_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "qk_head_dim": 8,
    "v_head_dim": 4,
    "max_position_embeddings": 64,
    "max_seq_len": 64,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "moe_top_k": 2,
    "num_experts_per_token": 2,
    "top_k_experts": 2,
    "n_shared_experts": 1,
    "moe_num_shared_experts": 1,
    "num_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
    "zero_expert_num": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "mlp_only_layers": [],
    "moe_layer_start_index": 0,
    "decoder_sparse_step": 1,
    "sliding_window": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # state-space and linear attention layers
    "mamba_d_state": 4,
    "mamba_d_conv": 2,
    "mamba_expand": 2,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_dt_rank": 4,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "ssm_state_size": 4,
    "n_groups": 1,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    # indexers
    "index_head_dim": 4,
    "index_n_heads": 1,
    "index_topk": 4,
}


def tiny(config_class: Any, **others: Any) -> Any:
    """A config with all sizes made small."""
    known = config_class()
    sizes = {name: value for name, value in SIZES.items() if hasattr(known, name)}
    return config_class(**{**sizes, **others})


def moe(name: str, model: str, **others: Any) -> tuple[str, Callable[[Path], None]]:
    """A builder of a model with a tokenizer alone."""

    def build(directory: Path) -> None:
        model_class: Any = getattr(tf, model)
        save(directory, model_class, tiny(model_class.config_class, **others), tokenizer())

    return name, build


TEXT: dict[str, Callable[[Path], None]] = dict(
    [
        moe("mixtral", "MixtralForCausalLM"),
        moe("qwen2_moe", "Qwen2MoeForCausalLM"),
        moe("qwen3_moe", "Qwen3MoeForCausalLM"),
        moe(
            "qwen3_next", "Qwen3NextForCausalLM", layer_types=["linear_attention", "full_attention"]
        ),
        moe(
            "qwen3_5_moe",
            "Qwen3_5MoeForCausalLM",
            layer_types=["linear_attention", "full_attention"],
        ),
        moe("deepseek_v2", "DeepseekV2ForCausalLM", num_key_value_heads=4),
        moe("deepseek_v3", "DeepseekV3ForCausalLM", num_key_value_heads=4),
        moe("deepseek_v32", "DeepseekV32ForCausalLM", num_key_value_heads=4),
        moe("gpt_oss", "GptOssForCausalLM"),
        moe("llama4", "Llama4ForCausalLM"),
        moe("glm4_moe", "Glm4MoeForCausalLM"),
        moe("olmoe", "OlmoeForCausalLM"),
        moe("phimoe", "PhimoeForCausalLM"),
        moe("granitemoe", "GraniteMoeForCausalLM"),
        moe("granitemoehybrid", "GraniteMoeHybridForCausalLM", layer_types=["mamba", "attention"]),
        moe("minimax_m2", "MiniMaxM2ForCausalLM"),
        moe("ernie4_5_moe", "Ernie4_5_MoeForCausalLM"),
        moe(
            "jamba",
            "JambaForCausalLM",
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=1,
            expert_layer_offset=0,
            use_mamba_kernels=False,
        ),
        moe("nemotron_h", "NemotronHForCausalLM", layers_block_type=["mamba", "moe", "attention"]),
        moe("kimi_linear", "KimiLinearForCausalLM"),
        moe(
            "dbrx",
            "DbrxForCausalLM",
            attn_config=tf.models.dbrx.configuration_dbrx.DbrxAttentionConfig(
                kv_n_heads=2, rope_theta=10000.0, clip_qkv=8.0
            ),
            ffn_config={"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
        ),
        moe("longcat_flash", "LongcatFlashForCausalLM", num_key_value_heads=4),
        moe("hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM"),
        moe("lfm2_moe", "Lfm2MoeForCausalLM", layer_types=["conv", "full_attention"]),
        moe("minimax", "MiniMaxForCausalLM", layer_types=["linear_attention", "full_attention"]),
        moe("jetmoe", "JetMoeForCausalLM"),
    ]
)
