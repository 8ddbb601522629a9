"""Models that are not tried with every method: most of them what the generic adapter is for."""

from pathlib import Path
from typing import Any

import transformers as tf

from app.recipes.modality import Modality
from tests import tiny_vision_language_models as vl
from tests.families import ENCODER, GPT2, LLAMA, PLAIN_DECODER, VISION, VIT, Family, pair, text
from tests.tiny_models import BERT, DECODER, SQUARE, T5, VISION_CONFIG, VOCABULARY, save, tokenizer

LANGUAGE, TEXT = Modality.LANGUAGE, Modality.TEXT
ROBERTA = {**BERT, "max_position_embeddings": 70}
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
DISTIL = {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "pad_token_id": 0}


def images(name: str, model: Any, config: Any, processor: Any, **towers: Any) -> Family:
    """Row of a model of images alone."""

    def build(directory: Path) -> None:
        save(directory, model, config, processor)

    return Family(name, build, "image", {key.replace("__", "."): v for key, v in towers.items()})


def dinov2(**options: Any) -> tf.Dinov2Config:
    return tf.Dinov2Config(**{**VISION_CONFIG, "mlp_ratio": 2, **options})


SWIN = tf.SwinConfig(
    image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
)


def trocr(directory: Path) -> None:
    """Reads images, writes text."""
    decoder = tf.GPT2Config(
        vocab_size=VOCABULARY, bos_token_id=1, add_cross_attention=True, is_decoder=True, **GPT2
    )
    config = tf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        tf.ViTConfig(**VISION_CONFIG), decoder
    )
    config.decoder_start_token_id, config.pad_token_id = 1, 0
    processor = tf.TrOCRProcessor(tf.ViTImageProcessorPil(**SQUARE), tokenizer())
    save(directory, tf.VisionEncoderDecoderModel, config, processor)


UNSEEN: tuple[Family, ...] = (
    pair(
        "trocr",
        trocr,
        {"encoder.layers": VIT, "decoder.transformer.h": (LANGUAGE, 2, 14)},
    ),
    text(
        "t5_model",
        tf.T5Model,
        tf.T5Config(**T5),
        {"encoder.block": ENCODER, "decoder.block": (TEXT, 2, 20)},
    ),
    text(
        "bart_classifier",
        tf.BartForSequenceClassification,
        tf.BartConfig(**SEQ2SEQ, max_position_embeddings=64, num_labels=3),
        {"model.encoder.layers": ENCODER, "model.decoder.layers": (TEXT, 2, 20)},
    ),
    text(
        "roberta",
        tf.RobertaForMaskedLM,
        tf.RobertaConfig(**ROBERTA),
        {"roberta.encoder.layer": ENCODER},
    ),
    text("roberta_model", tf.RobertaModel, tf.RobertaConfig(**ROBERTA), {"encoder.layer": ENCODER}),
    text(
        "distilbert",
        tf.DistilBertForSequenceClassification,
        tf.DistilBertConfig(vocab_size=VOCABULARY, **DISTIL),
        {"distilbert.transformer.layer": ENCODER},
    ),
    text(
        "albert",
        tf.AlbertModel,
        tf.AlbertConfig(**{**BERT, "embedding_size": 12}),
        {"encoder.albert_layer_groups": (TEXT, 1, 6)},
    ),
    text(
        "gpt_neox",
        tf.GPTNeoXForCausalLM,
        tf.GPTNeoXConfig(**DECODER),
        {"gpt_neox.layers": (LANGUAGE, 2, 8)},
    ),
    text("phi", tf.PhiForCausalLM, tf.PhiConfig(**DECODER), {"model.layers": PLAIN_DECODER}),
    text(
        "mixtral",
        tf.MixtralForCausalLM,
        tf.MixtralConfig(**DECODER, num_local_experts=2),
        {"model.layers": (LANGUAGE, 2, 20)},
    ),
    text(
        "bart",
        tf.BartForConditionalGeneration,
        tf.BartConfig(**SEQ2SEQ, max_position_embeddings=64),
        {"model.encoder.layers": PLAIN_DECODER, "model.decoder.layers": (LANGUAGE, 2, 20)},
    ),
    images(
        "dinov2",
        tf.Dinov2ForImageClassification,
        dinov2(),
        tf.BitImageProcessorPil(**SQUARE),
        dinov2__encoder__layer=VIT,
    ),
    images(
        "dinov2_giant",
        tf.Dinov2ForImageClassification,
        dinov2(use_swiglu_ffn=True),
        tf.BitImageProcessorPil(**SQUARE),
        dinov2__encoder__layer=(VISION, 3, 21),
    ),
    images(
        "swin",
        tf.SwinForImageClassification,
        SWIN,
        tf.ViTImageProcessorPil(size={"height": 32, "width": 32}),
        swin__encoder__layers=(VISION, 2, 25),
    ),
    pair(
        "gemma3",
        vl.gemma3,
        {"model.vision_tower.encoder.layers": VIT, "model.language_model.layers": LLAMA},
    ),
    pair(
        "siglip2",
        vl.siglip2,
        {"vision_model.encoder.layers": (VISION, 1, 6), "text_model.encoder.layers": ENCODER},
    ),
    pair(
        "mllama",
        vl.mllama,
        {
            "model.vision_model.transformer.layers": (VISION, 2, 12),
            "model.vision_model.global_transformer.layers": (VISION, 1, 6),
            "model.language_model.layers": (LANGUAGE, 3, 21),
        },
    ),
)
