"""Builders of tiny random models with a vision tower, each with its real processor class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as tf

from tests.tiny_models import (
    BERT,
    DECODER,
    OPT,
    SQUARE,
    VISION_CONFIG,
    VOCABULARY,
    save,
    save_parts,
    tokenizer,
)


def clip(directory: Path) -> None:
    config = tf.CLIPConfig(
        text_config={**BERT, "eos_token_id": 2},
        vision_config=VISION_CONFIG,
        projection_dim=12,
    )
    save(
        directory,
        tf.CLIPModel,
        config,
        tf.CLIPProcessor(tf.CLIPImageProcessorPil(**SQUARE), tokenizer()),
    )


def siglip(directory: Path) -> None:
    config = tf.SiglipConfig(
        text_config={**BERT, "max_position_embeddings": 16, "projection_size": 16},
        vision_config=VISION_CONFIG,
    )
    processor = tf.SiglipProcessor(tf.SiglipImageProcessorPil(**SQUARE), tokenizer())
    save(directory, tf.SiglipModel, config, processor)


def blip(model_class: Any) -> Callable[[Path], None]:
    """Builder of a BLIP of the given task."""

    def build(directory: Path) -> None:
        config = tf.BlipConfig(
            text_config={
                **BERT,
                "encoder_hidden_size": 16,
                "sep_token_id": 2,
                "projection_dim": 16,
            },
            vision_config=VISION_CONFIG,
            image_text_hidden_size=12,
        )
        processor = tf.BlipProcessor(tf.BlipImageProcessorPil(**SQUARE), tokenizer())
        save(directory, model_class, config, processor)

    return build


QFORMER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "encoder_hidden_size": 16,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def blip2(text_config: Any) -> Callable[[Path], None]:
    """Builder of a BLIP-2 on the given language model."""

    def build(directory: Path) -> None:
        words = tokenizer("<image>")
        config = tf.Blip2Config(
            vision_config=VISION_CONFIG,
            qformer_config=QFORMER,
            text_config=text_config.to_dict(),
            num_query_tokens=4,
            image_token_index=words.convert_tokens_to_ids("<image>"),
        )
        processor = tf.Blip2Processor(tf.BlipImageProcessorPil(**SQUARE), words, num_query_tokens=4)
        save(directory, tf.Blip2ForConditionalGeneration, config, processor)

    return build


def instructblip(directory: Path) -> None:
    words = tokenizer("<image>")
    config = tf.InstructBlipConfig(
        vision_config=VISION_CONFIG,
        qformer_config=QFORMER,
        text_config=tf.OPTConfig(**OPT).to_dict(),
        num_query_tokens=4,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    processor = tf.InstructBlipProcessor(
        tf.BlipImageProcessorPil(**SQUARE), words, tokenizer(), num_query_tokens=4
    )
    save(directory, tf.InstructBlipForConditionalGeneration, config, processor)


def llava(directory: Path) -> None:
    words = tokenizer("<image>")
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION_CONFIG),
        text_config=tf.LlamaConfig(**DECODER),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessorPil(**SQUARE),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    save(directory, tf.LlavaForConditionalGeneration, config, processor)


def llava_next(directory: Path) -> None:
    words = tokenizer("<image>")
    pinpoints = [[16, 32], [32, 16]]
    config = tf.LlavaNextConfig(
        vision_config=tf.CLIPVisionConfig(**VISION_CONFIG),
        text_config=tf.LlamaConfig(**DECODER),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
    )
    processor = tf.LlavaNextProcessor(
        tf.LlavaNextImageProcessorPil(
            size={"shortest_edge": 16},
            crop_size={"height": 16, "width": 16},
            image_grid_pinpoints=pinpoints,
        ),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    save(directory, tf.LlavaNextForConditionalGeneration, config, processor)


def paligemma(directory: Path) -> None:
    words = tokenizer("<image>")
    words.image_token, words.image_token_id = "<image>", words.convert_tokens_to_ids("<image>")
    images = tf.SiglipImageProcessorPil(**SQUARE)
    images.image_seq_length = 4
    processor = tf.PaliGemmaProcessor(images, words)
    config = tf.PaliGemmaConfig(
        vision_config=tf.SiglipVisionConfig(**VISION_CONFIG, vision_use_head=False),
        text_config=tf.GemmaConfig(
            **{**DECODER, "head_dim": 4, "vocab_size": len(processor.tokenizer)}
        ),
        projection_dim=16,
        image_token_index=words.image_token_id,
    )
    save(directory, tf.PaliGemmaForConditionalGeneration, config, processor)


def qwen_vl(
    directory: Path,
    model_class: Any,
    config_class: Any,
    processor: str,
    vision: dict[str, Any],
    **language: Any,
) -> None:
    """A Qwen-VL; its processor is saved without the video part (torchvision)."""
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    words = tokenizer(*marks)
    ids = words.convert_tokens_to_ids(list(marks))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]}
    patches = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
    config = config_class(
        text_config={**DECODER, "rope_parameters": rope, **language},
        vision_config={"depth": 2, "num_heads": 2, "hidden_size": 16, **patches, **vision},
        image_token_id=ids[0],
        video_token_id=ids[1],
        vision_start_token_id=ids[2],
        vision_end_token_id=ids[3],
    )
    save(directory, model_class, config, words)
    images = tf.Qwen2VLImageProcessorPil(min_pixels=64, max_pixels=256, patch_size=4, merge_size=2)
    save_parts(directory, images, processor_class=processor)


def qwen2_vl(directory: Path) -> None:
    vision = {"embed_dim": 16, "mlp_ratio": 2}
    classes = (tf.Qwen2VLForConditionalGeneration, tf.Qwen2VLConfig)
    qwen_vl(directory, *classes, "Qwen2VLProcessor", vision)


def qwen2_5_vl(directory: Path) -> None:
    vision = {"out_hidden_size": 16, "intermediate_size": 24, "window_size": 16}
    classes = (tf.Qwen2_5_VLForConditionalGeneration, tf.Qwen2_5_VLConfig)
    qwen_vl(directory, *classes, "Qwen2VLProcessor", {**vision, "fullatt_block_indexes": [1]})


def qwen3_vl(directory: Path) -> None:
    """Features of vision blocks 0 and 1 are added between the blocks of the language model."""
    vision = {
        "out_hidden_size": 16,
        "intermediate_size": 24,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    classes = (tf.Qwen3VLForConditionalGeneration, tf.Qwen3VLConfig)
    qwen_vl(directory, *classes, "Qwen3VLProcessor", vision, head_dim=4)


def gemma3(directory: Path) -> None:
    marks = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    words = tokenizer(*marks.values(), **marks)
    boi, eoi, image = words.convert_tokens_to_ids(list(marks.values()))
    config = tf.Gemma3Config(
        text_config={**DECODER, "head_dim": 4, "sliding_window": 8},
        vision_config={**VISION_CONFIG, "vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=boi,
        eoi_token_index=eoi,
        image_token_index=image,
    )
    images = tf.Gemma3ImageProcessorPil(size=SQUARE["size"])
    processor = tf.Gemma3Processor(images, words, image_seq_length=4)
    save(directory, tf.Gemma3ForConditionalGeneration, config, processor)


def siglip2(directory: Path) -> None:
    vision = {"num_patches": 256, "patch_size": 16, "num_hidden_layers": 1}
    config = tf.Siglip2Config(
        text_config={**BERT, "max_position_embeddings": 16, "projection_size": 16},
        vision_config={k: v for k, v in {**VISION_CONFIG, **vision}.items() if k != "image_size"},
    )
    processor = tf.Siglip2Processor(tf.Siglip2ImageProcessorPil(), tokenizer())
    save(directory, tf.Siglip2Model, config, processor)


def mllama(directory: Path) -> None:
    """A language stack of two block classes: block 1 is cross-attention to the image."""
    words = tokenizer("<|image|>", "<|python_tag|>")
    config = tf.MllamaConfig(
        text_config={
            **DECODER,
            "num_hidden_layers": 3,
            "cross_attention_layers": [1],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        vision_config={
            "hidden_size": 16,
            "attention_heads": 2,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "image_size": 16,
            "patch_size": 8,
            "max_num_tiles": 2,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [1],
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        },
        image_token_index=words.convert_tokens_to_ids("<|image|>"),
    )
    images = tf.MllamaImageProcessorPil(size=SQUARE["size"], max_image_tiles=2)
    save(directory, tf.MllamaForConditionalGeneration, config, tf.MllamaProcessor(images, words))


IDEFICS_MARKS = (
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row + 1}_col_{column + 1}>" for row in range(2) for column in range(2)),
)


def idefics(model_class: Any, config_class: Any, processor: str) -> Callable[[Path], None]:
    """Builder of an Idefics3 or SmolVLM."""

    def build(directory: Path) -> None:
        words = tokenizer(*IDEFICS_MARKS)
        config = config_class(
            vision_config={**VISION_CONFIG, "model_type": f"{config_class.model_type}_vision"},
            text_config=tf.LlamaConfig(**{**DECODER, "max_position_embeddings": 128}),
            image_token_id=words.convert_tokens_to_ids("<image>"),
            scale_factor=2,
            pad_token_id=0,
        )
        save(directory, model_class, config, words)
        images = tf.Idefics3ImageProcessorPil(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 16}
        )
        save_parts(directory, images, processor_class=processor, image_seq_len=1)

    return build


def vit(directory: Path) -> None:
    config = tf.ViTConfig(**VISION_CONFIG, num_labels=3)
    save(directory, tf.ViTForImageClassification, config, tf.ViTImageProcessorPil(**SQUARE))
