"""The test matrix of model families: each built tiny and random on disk from its own config.

Adding a family: a builder (or a config) and one row in FAMILIES.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers as tf

from app.recipes.modality import Modality
from tests import tiny_vision_language_models as vl
from tests.tiny_models import BERT, DECODER, OPT, T5, VOCABULARY, records, text_model

__all__ = ["BY_NAME", "FAMILIES", "Family", "records"]

VISION, TEXT, LANGUAGE = Modality.VISION, Modality.TEXT, Modality.LANGUAGE


@dataclass(frozen=True)
class Family:
    """One row.

    Attributes:
        name: also the directory's name.
        build: writes model and processor into a directory.
        kind: what a calibration record holds: `text`, `image` or `pair`.
        towers: expected tower -> (modality, blocks, matrices).
    """

    name: str
    build: Callable[[Path], None]
    kind: str
    towers: dict[str, tuple[Modality, int, int]]


# Tower -> (modality, blocks, matrices).
VIT = (VISION, 3, 18)
FUSED_VIT = (VISION, 3, 12)  # qkv is one matrix
ENCODER = (TEXT, 2, 12)
CROSS_ENCODER = (TEXT, 2, 20)
LLAMA = (LANGUAGE, 2, 14)
PLAIN_DECODER = (LANGUAGE, 2, 12)
CROSS_DECODER = (LANGUAGE, 2, 20)
LLAVA = {"model.vision_tower.encoder.layers": VIT, "model.language_model.layers": LLAMA}
BLIP2 = {
    "vision_model.encoder.layers": FUSED_VIT,
    "language_model.model.decoder.layers": PLAIN_DECODER,
}
IDEFICS = {"model.vision_model.encoder.layers": VIT, "model.text_model.layers": LLAMA}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "eos_token_id": 2}


def text(
    name: str, model: Any, config: Any, towers: dict[str, tuple[Modality, int, int]]
) -> Family:
    """Row of a model with a tokenizer alone."""
    return Family(name, text_model(model, config), "text", towers)


def llama_like(name: str, model: Any, config: Any, **options: Any) -> Family:
    """Row of a decoder of Llama's shape: seven matrices a layer."""
    return text(name, model, config(**{**DECODER, **options}), {"model.layers": LLAMA})


def pair(
    name: str, build: Callable[[Path], None], towers: dict[str, tuple[Modality, int, int]]
) -> Family:
    """Row of a model of images and texts."""
    return Family(name, build, "pair", towers)


FAMILIES: tuple[Family, ...] = (
    llama_like("llama", tf.LlamaForCausalLM, tf.LlamaConfig),
    llama_like("mistral", tf.MistralForCausalLM, tf.MistralConfig, sliding_window=6, head_dim=4),
    llama_like("qwen2", tf.Qwen2ForCausalLM, tf.Qwen2Config),
    llama_like("qwen3", tf.Qwen3ForCausalLM, tf.Qwen3Config, head_dim=4),
    llama_like("gemma", tf.GemmaForCausalLM, tf.GemmaConfig, head_dim=4),
    llama_like("gemma2", tf.Gemma2ForCausalLM, tf.Gemma2Config, head_dim=4, sliding_window=6),
    text("opt", tf.OPTForCausalLM, tf.OPTConfig(**OPT), {"model.decoder.layers": PLAIN_DECODER}),
    text(
        "gpt2",
        tf.GPT2LMHeadModel,
        tf.GPT2Config(vocab_size=VOCABULARY, bos_token_id=1, **GPT2),
        {"transformer.h": (LANGUAGE, 2, 8)},
    ),
    text("bert", tf.BertModel, tf.BertConfig(**BERT), {"encoder.layer": ENCODER}),
    text("bert_mlm", tf.BertForMaskedLM, tf.BertConfig(**BERT), {"bert.encoder.layer": ENCODER}),
    text(
        "t5",
        tf.T5ForConditionalGeneration,
        tf.T5Config(**T5),
        {"encoder.block": PLAIN_DECODER, "decoder.block": CROSS_DECODER},
    ),
    Family("vit", vl.vit, "image", {"vit.layers": VIT}),
    pair(
        "clip", vl.clip, {"vision_model.encoder.layers": VIT, "text_model.encoder.layers": ENCODER}
    ),
    pair(
        "siglip",
        vl.siglip,
        {
            "vision_model.encoder.layers": VIT,
            "vision_model.head": (VISION, 1, 4),
            "text_model.encoder.layers": ENCODER,
        },
    ),
    pair(
        "blip_caption",
        vl.blip(tf.BlipForConditionalGeneration),
        {
            "vision_model.encoder.layers": FUSED_VIT,
            "text_decoder.bert.encoder.layer": CROSS_ENCODER,
        },
    ),
    pair(
        "blip_vqa",
        vl.blip(tf.BlipForQuestionAnswering),
        {
            "vision_model.encoder.layers": FUSED_VIT,
            "text_encoder.encoder.layer": CROSS_ENCODER,
            "text_decoder.bert.encoder.layer": CROSS_ENCODER,
        },
    ),
    pair(
        "blip_retrieval",
        vl.blip(tf.BlipForImageTextRetrieval),
        {"vision_model.encoder.layers": FUSED_VIT, "text_encoder.encoder.layer": CROSS_ENCODER},
    ),
    pair("blip2_opt", vl.blip2(tf.OPTConfig(**OPT)), BLIP2),
    pair(
        "blip2_t5",
        vl.blip2(tf.T5Config(**T5)),
        {
            "vision_model.encoder.layers": FUSED_VIT,
            "language_model.encoder.block": PLAIN_DECODER,
            "language_model.decoder.block": CROSS_DECODER,
        },
    ),
    pair("instructblip", vl.instructblip, BLIP2),
    pair("llava", vl.llava, LLAVA),
    pair("llava_next", vl.llava_next, LLAVA),
    pair("paligemma", vl.paligemma, LLAVA),
    pair(
        "qwen2_vl",
        vl.qwen2_vl,
        {"model.visual.blocks": (VISION, 2, 8), "model.language_model.layers": LLAMA},
    ),
    pair(
        "qwen2_5_vl",
        vl.qwen2_5_vl,
        {"model.visual.blocks": (VISION, 2, 10), "model.language_model.layers": LLAMA},
    ),
    pair(
        "qwen3_vl",
        vl.qwen3_vl,
        {"model.visual.blocks": (VISION, 2, 8), "model.language_model.layers": LLAMA},
    ),
    pair(
        "idefics3",
        vl.idefics(tf.Idefics3ForConditionalGeneration, tf.Idefics3Config, "Idefics3Processor"),
        IDEFICS,
    ),
    pair(
        "smolvlm",
        vl.idefics(tf.SmolVLMForConditionalGeneration, tf.SmolVLMConfig, "SmolVLMProcessor"),
        IDEFICS,
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
