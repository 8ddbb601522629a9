"""Fields of single configurations that their names do not tell; see `tiny`."""

from typing import Any

SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
SWIN |= {"patch_size": 4}
EFFICIENT: dict[str, Any] = {
    "in_channels": [32, 16],
    "out_channels": [16, 32],
    "kernel_sizes": [3, 3],
    "strides": [1, 2],
    "num_block_repeats": [1, 2],
    "expand_ratios": [1, 6],
    "hidden_dim": 1280,
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
HIERARCHY: dict[str, Any] = {
    "num_encoder_blocks": 2,
    "depths": [2, 2],
    "sr_ratios": [2, 1],
    "hidden_sizes": [16, 32],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [4, 4],
    "decoder_hidden_size": 32,
}
RESNET: dict[str, Any] = {"hidden_sizes": [16, 32], "depths": [2, 2], "embedding_size": 16}
MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}
GEMMA3N: dict[str, Any] = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "intermediate_size": [48] * 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "laurel_rank": 8,
    "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0],
    "hidden_size_per_layer_input": 8,
}
GEMMA4: dict[str, Any] = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "global_head_dim": 16,
    "head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "hidden_size_per_layer_input": 8,
}
NEMOTRON: dict[str, Any] = {
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "ssm_state_size": 16,
    "chunk_size": 16,
}
SAM: dict[str, Any] = {"output_channels": 16, "window_size": 2, "global_attn_indexes": [1]}
NEST: dict[str, Any] = {"head_dim": 8, "num_key_value_heads": 2}


def _rope(*section: int, **more: Any) -> dict[str, Any]:
    return {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": list(section),
        **more,
    }


def _in(part: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in fields.items()}


# Class -> field of its configuration (`part.field` for a part) -> value.
CHANGES: dict[str, dict[str, Any]] = {
    # text
    "Gemma3nForCausalLM": GEMMA3N,
    "Gemma4ForCausalLM": GEMMA4,
    "Mamba2ForCausalLM": {"num_heads": 8, "n_groups": 2, "state_size": 16, "chunk_size": 16},
    "DeepseekV2ForCausalLM": {"num_experts_per_tok": 2},
    "GraniteMoeHybridForCausalLM": {
        **MAMBA,
        "layer_types": ["linear_attention", "full_attention"],
        "mamba_chunk_size": 16,
        "shared_intermediate_size": 48,
    },
    "NemotronHForCausalLM": NEMOTRON,
    "JambaForCausalLM": {"mamba_dt_rank": 4},
    "DbrxForCausalLM": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {
            "hidden_size": 32,
            "ffn_hidden_size": 48,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
    },
    "WhisperForConditionalGeneration": {"max_source_positions": 16, "num_mel_bins": 16},
    # vision
    "SwinForImageClassification": SWIN,
    "Swinv2ForImageClassification": {**SWIN, "pretrained_window_sizes": [0, 0]},
    "ConvNextForImageClassification": {
        "num_stages": 2,
        "hidden_sizes": [16, 32],
        "depths": [2, 2],
        "patch_size": 4,
    },
    "ConvNextV2ForImageClassification": {
        "num_stages": 2,
        "hidden_sizes": [16, 32],
        "depths": [2, 2],
        "patch_size": 4,
    },
    "SegformerForImageClassification": HIERARCHY,
    "PvtV2ForImageClassification": HIERARCHY,
    "HieraModel": {
        "embed_dim": 16,
        "image_size": [32, 32],
        "depths": [2, 2],
        "num_heads": [1, 2],
        "patch_size": [7, 7],
        "patch_stride": [4, 4],
        "num_query_pool": 1,
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, False],
    },
    "Siglip2VisionModel": {"num_patches": 16},
    "ResNetForImageClassification": RESNET,
    "EfficientNetForImageClassification": EFFICIENT,
    "DetrForObjectDetection": {
        "use_timm_backbone": False,
        "backbone": None,
        "num_queries": 6,
        "backbone_config": "ResNetConfig",
        **_in("backbone_config", {**RESNET, "out_features": ["stage2"]}),
    },
    # dual encoders
    "Siglip2Model": {"vision_config.num_patches": 16},
    "AlignModel": _in("vision_config", EFFICIENT),
    "BridgeTowerModel": {
        "hidden_size": 64,
        "text_config.hidden_size": 64,
        "vision_config.hidden_size": 64,
    },
    "BridgeTowerForImageAndTextRetrieval": {
        "hidden_size": 64,
        "text_config.hidden_size": 64,
        "vision_config.hidden_size": 64,
    },
    "LxmertForQuestionAnswering": {
        "l_layers": 2,
        "x_layers": 2,
        "r_layers": 2,
        "visual_feat_dim": 16,
        "num_qa_labels": 8,
    },
    "Blip2ForImageTextRetrieval": {
        "image_token_index": 8,
        "qformer_config.use_qformer_text_input": True,
    },
    "XCLIPModel": {"vision_config.num_frames": 2},
    "GroundingDinoForObjectDetection": {
        **_in("backbone_config", {**SWIN, "depths": [2, 2, 2], "num_heads": [2, 2, 4]}),
        "backbone_config.out_features": ["stage1", "stage2", "stage3"],
        "num_queries": 6,
    },
    "ColQwen2ForRetrieval": {"vlm_config.text_config.rope_parameters": _rope(2, 1, 1)},
    # image-text-to-text
    "AriaForConditionalGeneration": {"projector_patch_to_query_dict": {16: 4}},
    "Blip2ForConditionalGeneration": {"image_token_index": 8},
    "InstructBlipForConditionalGeneration": {"image_token_index": 8},
    "InstructBlipVideoForConditionalGeneration": {"video_token_index": 8, "image_token_index": 8},
    "ChameleonForConditionalGeneration": {
        "vocabulary_map": {"<image>": 8} | {f"IMGIMG{chr(65 + i)}Z": 16 + i for i in range(8)},
        **_in(
            "vq_config",
            {
                "num_embeddings": 8,
                "base_channels": 32,
                "channel_multiplier": [1, 2],
                "num_res_blocks": 1,
            },
        ),
    },
    "Emu3ForConditionalGeneration": {
        "vocabulary_map": {"<image>": 8, "<|extra_200|>": 9}
        | {f"<|visual token {i:06d}|>": 16 + i for i in range(8)},
        **_in(
            "vq_config",
            {
                "codebook_size": 8,
                "base_channels": 32,
                "channel_multiplier": [1, 2],
                "num_res_blocks": 1,
                "attn_resolutions": [1],
                "embed_dim": 4,
                "hidden_size": 64,
                "temporal_downsample_factor": 2,
            },
        ),
    },
    "CohereCompassForConditionalGeneration": {
        "text_config.rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4}
            for kind in ("full_attention", "sliding_attention")
        },
        "vision_config.deepstack_visual_indexes": [0],
        "vision_config.num_position_embeddings": 16,
    },
    "DeepseekOcr2ForConditionalGeneration": {
        "text_config.mlp_layer_types": ["dense", "sparse"],
        "text_config.n_group": 1,
        "text_config.num_experts_per_tok": 2,
        "text_config.topk_group": 1,
        **_in("vision_config.sam_config", {**SAM, "downsample_channels": [16, 32]}),
    },
    "DeepseekVLHybridForConditionalGeneration": _in("high_res_vision_config", SAM),
    "DiffusionGemmaForBlockDiffusion": {
        **_in("text_config", {"global_head_dim": 16, "head_dim": 8, "num_experts": 4}),
        **_in("text_config", {"top_k_experts": 2, "moe_intermediate_size": 24}),
        "vision_config.pooling_kernel_size": 2,
        "vision_config.position_embedding_size": 16,
        "canvas_length": 8,
    },
    "Dots3NoteForConditionalGeneration": {
        "audio_config.adapter_input_size": 32,
        "vision_config.adapter_in_dim": 32,
        **_in(
            "text_config",
            {
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "kv_lora_rank": 16,
                "qk_nope_head_dim": 8,
                "qk_rope_head_dim": 8,
                "v_head_dim": 8,
                "swa_num_attention_heads": 4,
                "swa_num_key_value_heads": 4,
                "swa_kv_lora_rank": 16,
                "swa_q_lora_rank": 16,
                "swa_head_dim": 16,
                "swa_qk_nope_head_dim": 8,
                "swa_qk_rope_head_dim": 8,
                "swa_v_head_dim": 8,
            },
        ),
        "audio_config.num_key_value_heads": 4,
    },
    "Ernie4_5_VLMoeForConditionalGeneration": {
        "text_config.rope_parameters": _rope(1, 1, 2),
        "text_config.moe_intermediate_size": [16, 8],
    },
    "Florence2ForConditionalGeneration": _in(
        "vision_config",
        {
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
        },
    ),
    "InternVLForConditionalGeneration": {
        "vision_config.image_size": [32, 32],
        "vision_config.patch_size": [8, 8],
    },
    "Qwen3VLForConditionalGeneration": {"vision_config.deepstack_visual_indexes": [0]},
    "Qwen3VLMoeForConditionalGeneration": {"vision_config.deepstack_visual_indexes": [0]},
    "Gemma3ForConditionalGeneration": {"mm_tokens_per_image": 4},
    "T5Gemma2ForConditionalGeneration": {"encoder.mm_tokens_per_image": 4},
    "Gemma3nForConditionalGeneration": {  # words of other senses begin behind those of the text
        **_in("text_config", GEMMA3N),
        **_in("vision_config", {"vocab_offset": 192, "hidden_size": 32, "vocab_size": 16}),
        **_in("audio_config", {"vocab_offset": 208, "hidden_size": 32, "vocab_size": 16}),
        "vision_soft_tokens_per_image": 16,
    },
    "Gemma4ForConditionalGeneration": {
        **_in("text_config", GEMMA4),
        "vision_config": "Gemma4VisionConfig",
        "vision_config.pooling_kernel_size": 2,
        "vision_config.position_embedding_size": 16,
    },
    "Gemma4UnifiedForConditionalGeneration": {
        **_in("text_config", {**GEMMA4, "hidden_size_per_layer_input": None}),
        "vision_config": "Gemma4UnifiedVisionConfig",
        "vision_config.output_proj_dims": 32,
        "vision_config.mm_posemb_size": 16,
    },
    "Glm5NextForConditionalGeneration": {"text_config.intermediate_size": 256},
    # As in the large ones, experts weigh more than what mixes layers and short convolutions.
    "Inkling2ForConditionalGeneration": {"text_config.moe_intermediate_size": 256},
    "Glm46VForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "Glm4vForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "Glm4vMoeForConditionalGeneration": {
        "text_config.rope_parameters": _rope(1, 1, 0, partial_rotary_factor=0.5)
    },
    "GlmOcrForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "Qwen2_5_VLForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "Qwen2VLForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "HunYuanVLForConditionalGeneration": {"text_config.rope_parameters": _rope(1, 1, 1, 1)},
    "Qwen2_5OmniThinkerForConditionalGeneration": {
        "text_config.rope_parameters": _rope(2, 1, 1),
        "vision_start_token_id": 40,
        "vision_end_token_id": 41,
    },
    "Qwen3OmniMoeThinkerForConditionalGeneration": {
        "vision_start_token_id": 40,
        "vision_end_token_id": 41,
    },
    "Granite4VisionForConditionalGeneration": {
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[-1, 0]],
        "vision_feature_layer": -1,
        "spatial_target_layers": [1, 1, 1, 1],
        "image_grid_pinpoints": [[32, 32]],
        **_in("qformer_config", {"hidden_size": 64, "encoder_hidden_size": 64}),
        "vision_config.hidden_size": 64,
    },
    "LlavaNextForConditionalGeneration": {"image_grid_pinpoints": [[32, 32]]},
    "LlavaNextVideoForConditionalGeneration": {"image_grid_pinpoints": [[32, 32]]},
    "LlavaOnevisionForConditionalGeneration": {"image_grid_pinpoints": [[32, 32]]},
    "Idefics2ForConditionalGeneration": _in(
        "perceiver_config",
        {"resampler_n_latents": 4, "resampler_n_heads": 4, "resampler_depth": 2}
        | {"resampler_head_dim": 8, "num_key_value_heads": 2},
    ),
    "Idefics3ForConditionalGeneration": {"scale_factor": 2},
    "SmolVLMForConditionalGeneration": {"scale_factor": 2},
    "GraniteDoclingForConditionalGeneration": {
        "vision_config.deepstack_visual_indexes": [0],
        "vision_config.scale_factor": 2,
    },
    "JanusForConditionalGeneration": {
        "vision_config.num_image_tokens": 16,
        "vision_config.projection_dim": 32,
        **_in(
            "vq_config",
            {
                "num_embeddings": 8,
                "base_channels": 32,
                "channel_multiplier": [1, 2],
                "num_res_blocks": 1,
                "latent_channels": 32,
                "num_patches": 4,
            },
        ),
    },
    "Kosmos2ForConditionalGeneration": {"latent_query_num": 4},
    "Kosmos2_5ForConditionalGeneration": {"latent_query_num": 4},
    "Lfm2VlForConditionalGeneration": {
        "vision_config.num_patches": 16,
        "text_config.block_multiple_of": 16,
    },
    "Llama4ForConditionalGeneration": _in(
        "vision_config",
        {
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
    ),
    "MiniCPMV4_7ForConditionalGeneration": {
        "image_token_id": 8,
        "insert_layer_id": 0,
        "vision_config.insert_layer_id": 0,
    },
    "MiniCPMOcrForConditionalGeneration": {"image_token_id": 8},
    "MiniCPMV4_6ForConditionalGeneration": {
        "image_token_id": 8,
        "insert_layer_id": 0,
        "vision_config.insert_layer_id": 0,
    },
    "MllamaForConditionalGeneration": {
        "vision_config.intermediate_layers_indices": [0, 1],
        "vision_config.num_global_layers": 1,
        "vision_config.vision_output_dim": 96,
        "text_config.cross_attention_layers": [1],
        "text_config.num_hidden_layers": 3,
    },
    "MuseGlimmerForConditionalGeneration": {"out_hidden_size": 128},
    "MuseSparkForConditionalGeneration": {"out_hidden_size": 128},
    "PaddleOCRVLForConditionalGeneration": {"text_config.rope_parameters": _rope(2, 1, 1)},
    "Molmo2ForConditionalGeneration": {
        "image_patch_id": 8,
        "adapter_config.vision_feature_layer": [-1, 0],
        "vision_config.image_size": [32, 32],
        "vision_config.num_position_embeddings": 16,
    },
    "NemotronH_Omni_Reasoning_V3": {
        **_in("text_config", NEMOTRON),
        "vision_config.video_temporal_patch_size": 2,
        "image_token_id": 8,
        "vision_config.patch_dim": 192,
        "vision_config.video_patch_dim": 384,
    },
    "Qwen4ExpForConditionalGeneration": _in(
        "text_config",
        {
            "indexer_n_heads": 4,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 8,
            "indexer_budget": 16,
            "indexer_compress_ratio": 4,
            "hc_lowrank": 8,
        },
    ),
    "Step3p7ForConditionalGeneration": {
        "text_config.sliding_window": 16,
        "vision_config.hidden_size": 48,
    },
    "UnlimitedOcrForConditionalGeneration": _in(
        "vision_config.sam_config", {**SAM, "downsample_channels": [16, 32]}
    ),
    "VipLlavaForConditionalGeneration": {"vision_feature_layer": [-2, -1]},
    "PPFormulaNetForConditionalGeneration": _in(
        "vision_config",
        SAM
        | {"post_conv_in_channels": 16, "post_conv_mid_channels": 16, "post_conv_out_channels": 32}
        | {"decoder_hidden_size": 32},
    ),
    "UdopForConditionalGeneration": {"image_size": 32},
    "Pix2StructForConditionalGeneration": {"vision_config.patch_embed_hidden_size": 192},
}
