"""Random models of four families, 0.1 to 1.3 GB of float32, and what feeds them.

A name that ends in 16 is that model stored in bfloat16.
"""

from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.models.llava import CHAT_TEMPLATE
from benchmarks.models.tokenizer import build_tokenizer

SIDE, PATCH = 224, 16  # pixels
# Hidden size, inner size, layers, vocabulary.
LLAMAS = {
    "small": (512, 1408, 8, 16_000),
    "wide": (2048, 5504, 3, 8_000),
    "deep": (1024, 2816, 20, 32_000),
}


def build(directory: Path, name: str) -> None:
    """Write the model of that name, and its tokenizer or processor, into a directory."""
    torch.manual_seed(0)
    kind = name.removesuffix("16")
    match kind:
        case "llava":
            model, processor = _llava()
        case "opt":
            model, processor = _opt(), build_tokenizer(end=True)
        case "t5":
            model, processor = _t5(), build_tokenizer(end=True)
        case _:
            model, processor = LlamaForCausalLM(_llama(*LLAMAS[kind])), build_tokenizer(end=True)
    if kind != name:
        model = model.to(torch.bfloat16)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


def _llama(hidden: int, inner: int, layers: int, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        vocab_size=vocabulary,
        max_position_embeddings=512,
    )


def _llava() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A tower of 12 layers and 196 patches, a language model of 12 layers."""
    tokenizer = build_tokenizer(end=False)
    tokenizer.model_max_length = 512
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    vision = CLIPVisionConfig(
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=8,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=_llama(768, 2048, 12, 4_000),
        image_token_index=processor.image_token_id,
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config), processor


def _opt() -> OPTForCausalLM:
    return OPTForCausalLM(
        OPTConfig(
            hidden_size=768,
            ffn_dim=3072,
            num_hidden_layers=8,
            num_attention_heads=12,
            vocab_size=30_000,
            max_position_embeddings=512,
            word_embed_proj_dim=768,
        )
    )


def _t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=16_000,
            d_model=512,
            d_kv=64,
            d_ff=2048,
            num_layers=6,
            num_heads=8,
            pad_token_id=0,
            eos_token_id=3,
            decoder_start_token_id=0,
        )
    )
