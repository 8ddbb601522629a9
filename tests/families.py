"""The test matrix of model families: each built tiny and random on disk from its own config.

Adding a family: a builder (or a config) and one row in FAMILIES.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.domain.recipe import Modality
from workers.pruning.models.records import CalibrationRecord

VISION, BRIDGE, TEXT, LANGUAGE = (
    Modality.VISION,
    Modality.BRIDGE,
    Modality.TEXT,
    Modality.LANGUAGE,
)
WORDS = [
    "a",
    "photo",
    "of",
    "the",
    "red",
    "blue",
    "green",
    "small",
    "large",
    "cat",
    "dog",
    "house",
    "tree",
    "car",
    "boat",
    "on",
    "under",
    "beside",
    "near",
    "is",
    "what",
    "colour",
    "where",
    "it",
    "sits",
    "stands",
    "and",
    "sleeps",
    "while",
    "sun",
    "shines",
]
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
VOCABULARY = 64


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


def tokenizer(*extra: str, **options: Any) -> tf.PreTrainedTokenizerFast:
    """Word-level tokenizer of 64 tokens: <s> text </s>."""
    tokens = [*SPECIAL, *extra, *WORDS]
    tokens += [f"w{i}" for i in range(VOCABULARY - len(tokens))]
    raw = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    special = {
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        extra_special_tokens=list(extra),
        model_max_length=64,
        **{**special, **options},
    )


def records(kind: str, count: int = 5) -> list[CalibrationRecord]:
    """Records of different lengths and colours, the same ones each time."""
    made = []
    for i in range(count):
        text = " ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(4 + 3 * i % 7))
        image = Image.new("RGB", (40 + 4 * i, 32 + 7 * i), (40 * i % 255, 90, 255 - 30 * i))
        image.paste((255, 255 - 20 * i, 0), (4, 4, 12 + i, 20))
        made.append(
            CalibrationRecord(
                text=None if kind == "image" else text, image=None if kind == "text" else image
            )
        )
    return made


def save(directory: Path, model_class: Any, config: Any, processor: Any, **options: Any) -> None:
    """Write a random model of `config` (seed 0) and its processor."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    for parameter in model.parameters():  # several classes start layers at zero
        if float(parameter.detach().abs().sum()) == 0 and parameter.ndim > 0:
            torch.nn.init.normal_(parameter, std=0.02)
    model.to(options.pop("dtype", torch.float32))
    model.save_pretrained(directory, **options)
    if processor is not None:
        processor.save_pretrained(directory)


DECODER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def text_model(model_class: Any, config: Any, **options: Any) -> Callable[[Path], None]:
    """Builder of a model with a tokenizer alone."""
    return lambda directory: save(directory, model_class, config, tokenizer(), **options)


def decoder_row(name: str, model_class: Any, config_class: Any, **options: Any) -> Family:
    """Llama and the decoders of its shape: seven matrices a layer."""
    config = config_class(**{**DECODER, **options})
    return Family(
        name,
        text_model(model_class, config),
        "text",
        {"model.layers": (LANGUAGE, 2, 14)},
    )


VISION_CONFIG: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
BERT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
OPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SQUARE: dict[str, Any] = {
    "size": {"height": 16, "width": 16},
    "do_center_crop": False,
}


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


def qwen_vl(model_class: Any, config_class: Any, **vision: Any) -> Callable[[Path], None]:
    """Builder of a Qwen-VL; its processor is saved without the video part (torchvision)."""
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")

    def build(directory: Path) -> None:
        words = tokenizer(*marks)
        ids = words.convert_tokens_to_ids(list(marks))
        config = config_class(
            text_config={
                **DECODER,
                "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0]},
            },
            vision_config={
                "depth": 2,
                "num_heads": 2,
                "patch_size": 4,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                **vision,
            },
            image_token_id=ids[0],
            video_token_id=ids[1],
            vision_start_token_id=ids[2],
            vision_end_token_id=ids[3],
        )
        save(directory, model_class, config, words)
        images = tf.Qwen2VLImageProcessorPil(
            min_pixels=64, max_pixels=256, patch_size=4, merge_size=2
        )
        save_parts(directory, images, processor_class="Qwen2VLProcessor")

    return build


def save_parts(directory: Path, images: Any, **processor: Any) -> None:
    """Write an image processor and a processor's own file, as hub checkpoints have them."""
    images.save_pretrained(directory)
    (directory / "processor_config.json").write_text(json.dumps(processor))


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


VISION_TOWER = (VISION, 3, 18)
FUSED_TOWER = (VISION, 3, 12)  # qkv is one matrix

FAMILIES: tuple[Family, ...] = (
    decoder_row("llama", tf.LlamaForCausalLM, tf.LlamaConfig),
    decoder_row("mistral", tf.MistralForCausalLM, tf.MistralConfig, sliding_window=6, head_dim=4),
    decoder_row("qwen2", tf.Qwen2ForCausalLM, tf.Qwen2Config),
    decoder_row("qwen3", tf.Qwen3ForCausalLM, tf.Qwen3Config, head_dim=4),
    decoder_row("gemma", tf.GemmaForCausalLM, tf.GemmaConfig, head_dim=4),
    decoder_row("gemma2", tf.Gemma2ForCausalLM, tf.Gemma2Config, head_dim=4, sliding_window=6),
    Family(
        "opt",
        text_model(tf.OPTForCausalLM, tf.OPTConfig(**OPT)),
        "text",
        {"model.decoder.layers": (LANGUAGE, 2, 12)},
    ),
    Family(
        "gpt2",
        text_model(
            tf.GPT2LMHeadModel,
            tf.GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=16,
                n_layer=2,
                n_head=2,
                n_positions=64,
                bos_token_id=1,
                eos_token_id=2,
            ),
        ),
        "text",
        {"transformer.h": (LANGUAGE, 2, 8)},
    ),
    Family(
        "bert",
        text_model(tf.BertModel, tf.BertConfig(**BERT)),
        "text",
        {"encoder.layer": (TEXT, 2, 12)},
    ),
    Family(
        "bert_mlm",
        text_model(tf.BertForMaskedLM, tf.BertConfig(**BERT)),
        "text",
        {"bert.encoder.layer": (TEXT, 2, 12)},
    ),
    Family(
        "t5",
        text_model(tf.T5ForConditionalGeneration, tf.T5Config(**T5)),
        "text",
        {"encoder.block": (LANGUAGE, 2, 12), "decoder.block": (LANGUAGE, 2, 20)},
    ),
    Family("vit", vit, "image", {"vit.layers": VISION_TOWER}),
    Family(
        "clip",
        clip,
        "pair",
        {"vision_model.encoder.layers": VISION_TOWER, "text_model.encoder.layers": (TEXT, 2, 12)},
    ),
    Family(
        "siglip",
        siglip,
        "pair",
        {
            "vision_model.encoder.layers": VISION_TOWER,
            "vision_model.head": (VISION, 1, 4),
            "text_model.encoder.layers": (TEXT, 2, 12),
        },
    ),
    Family(
        "blip_caption",
        blip(tf.BlipForConditionalGeneration),
        "pair",
        {
            "vision_model.encoder.layers": FUSED_TOWER,
            "text_decoder.bert.encoder.layer": (TEXT, 2, 20),
        },
    ),
    Family(
        "blip_vqa",
        blip(tf.BlipForQuestionAnswering),
        "pair",
        {
            "vision_model.encoder.layers": FUSED_TOWER,
            "text_encoder.encoder.layer": (TEXT, 2, 20),
            "text_decoder.bert.encoder.layer": (TEXT, 2, 20),
        },
    ),
    Family(
        "blip_retrieval",
        blip(tf.BlipForImageTextRetrieval),
        "pair",
        {"vision_model.encoder.layers": FUSED_TOWER, "text_encoder.encoder.layer": (TEXT, 2, 20)},
    ),
    Family(
        "blip2_opt",
        blip2(tf.OPTConfig(**OPT)),
        "pair",
        {
            "vision_model.encoder.layers": FUSED_TOWER,
            "language_model.model.decoder.layers": (LANGUAGE, 2, 12),
        },
    ),
    Family(
        "blip2_t5",
        blip2(tf.T5Config(**T5)),
        "pair",
        {
            "vision_model.encoder.layers": FUSED_TOWER,
            "language_model.encoder.block": (LANGUAGE, 2, 12),
            "language_model.decoder.block": (LANGUAGE, 2, 20),
        },
    ),
    Family(
        "instructblip",
        instructblip,
        "pair",
        {
            "vision_model.encoder.layers": FUSED_TOWER,
            "language_model.model.decoder.layers": (LANGUAGE, 2, 12),
        },
    ),
    Family(
        "llava",
        llava,
        "pair",
        {
            "model.vision_tower.encoder.layers": VISION_TOWER,
            "model.language_model.layers": (LANGUAGE, 2, 14),
        },
    ),
    Family(
        "llava_next",
        llava_next,
        "pair",
        {
            "model.vision_tower.encoder.layers": VISION_TOWER,
            "model.language_model.layers": (LANGUAGE, 2, 14),
        },
    ),
    Family(
        "paligemma",
        paligemma,
        "pair",
        {
            "model.vision_tower.encoder.layers": VISION_TOWER,
            "model.language_model.layers": (LANGUAGE, 2, 14),
        },
    ),
    Family(
        "qwen2_vl",
        qwen_vl(
            tf.Qwen2VLForConditionalGeneration,
            tf.Qwen2VLConfig,
            embed_dim=16,
            hidden_size=16,
            mlp_ratio=2,
        ),
        "pair",
        {"model.visual.blocks": (VISION, 2, 8), "model.language_model.layers": (LANGUAGE, 2, 14)},
    ),
    Family(
        "qwen2_5_vl",
        qwen_vl(
            tf.Qwen2_5_VLForConditionalGeneration,
            tf.Qwen2_5_VLConfig,
            hidden_size=16,
            out_hidden_size=16,
            intermediate_size=24,
            window_size=16,
            fullatt_block_indexes=[1],
        ),
        "pair",
        {"model.visual.blocks": (VISION, 2, 10), "model.language_model.layers": (LANGUAGE, 2, 14)},
    ),
    Family(
        "idefics3",
        idefics(tf.Idefics3ForConditionalGeneration, tf.Idefics3Config, "Idefics3Processor"),
        "pair",
        {
            "model.vision_model.encoder.layers": VISION_TOWER,
            "model.text_model.layers": (LANGUAGE, 2, 14),
        },
    ),
    Family(
        "smolvlm",
        idefics(tf.SmolVLMForConditionalGeneration, tf.SmolVLMConfig, "SmolVLMProcessor"),
        "pair",
        {
            "model.vision_model.encoder.layers": VISION_TOWER,
            "model.text_model.layers": (LANGUAGE, 2, 14),
        },
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
