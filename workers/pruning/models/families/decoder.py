"""Decoder-only language models: Llama and the decoders of its shape, OPT, GPT-2."""

from app.recipes.recipe import Modality
from workers.pruning.models.adapter import Adapter, Part


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
    parts = (
        Part("*layers", Modality.LANGUAGE, mask="attention_mask"),
        Part("transformer.h", Modality.LANGUAGE, mask="attention_mask"),
    )
