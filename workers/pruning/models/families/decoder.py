"""Decoder-only language models: Llama and the decoders of its shape, OPT, GPT-2."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec


class DecoderAdapter(Adapter):
    """Next-token language models; GPT-2's Conv1D is seen transposed."""

    architectures = (
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "GemmaForCausalLM",
        "Gemma2ForCausalLM",
        "OPTForCausalLM",
        "GPT2LMHeadModel",
    )
    tower_specs = (
        TowerSpec("*layers", Modality.LANGUAGE, mask="attention_mask"),
        TowerSpec("transformer.h", Modality.LANGUAGE, mask="attention_mask"),
    )
