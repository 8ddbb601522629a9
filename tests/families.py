"""The test matrix of model families: each built tiny and random on disk from its own config.

Adding a family: a builder (or a config) and one row in FAMILIES.
"""

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


FAMILIES: tuple[Family, ...] = (
    decoder_row("llama", tf.LlamaForCausalLM, tf.LlamaConfig),
    decoder_row("mistral", tf.MistralForCausalLM, tf.MistralConfig, sliding_window=6, head_dim=4),
    decoder_row("qwen2", tf.Qwen2ForCausalLM, tf.Qwen2Config),
    decoder_row("qwen3", tf.Qwen3ForCausalLM, tf.Qwen3Config, head_dim=4),
    decoder_row("gemma", tf.GemmaForCausalLM, tf.GemmaConfig, head_dim=4),
    decoder_row("gemma2", tf.Gemma2ForCausalLM, tf.Gemma2Config, head_dim=4, sliding_window=6),
    Family(
        "opt",
        text_model(
            tf.OPTForCausalLM,
            tf.OPTConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                ffn_dim=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                word_embed_proj_dim=16,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            ),
        ),
        "text",
        {"model.decoder.layers": (LANGUAGE, 2, 12)},
    ),
    Family(
        "gpt2",
        text_model(
            tf.GPT2LMHeadModel,
            tf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64),
        ),
        "text",
        {"transformer.h": (LANGUAGE, 2, 8)},
    ),
    Family(
        "bert",
        text_model(
            tf.BertModel,
            tf.BertConfig(
                vocab_size=VOCABULARY,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                pad_token_id=0,
            ),
        ),
        "text",
        {"encoder.layer": (TEXT, 2, 12)},
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
