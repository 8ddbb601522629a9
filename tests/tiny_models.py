"""Tiny parts of test models: tokenizer, records, configs, and how a model is written to disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from workers.pruning.models.inputs.inputs import CalibrationRecord

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


def save_parts(directory: Path, images: Any, **processor: Any) -> None:
    """Write an image processor and a processor's own file, as hub checkpoints have them."""
    images.save_pretrained(directory)
    (directory / "processor_config.json").write_text(json.dumps(processor))


def text_model(model_class: Any, config: Any, **options: Any) -> Callable[[Path], None]:
    """Builder of a model with a tokenizer alone."""
    return lambda directory: save(directory, model_class, config, tokenizer(), **options)


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


def stored_as(source: Path, destination: Path, dtype: torch.dtype) -> Path:
    """A copy of a checkpoint in another dtype; one that is there already stays."""
    if destination.exists():
        return destination
    shutil.copytree(source, destination)
    for file in destination.glob("*.safetensors"):
        tensors = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in load_file(file).items()
        }
        save_file(tensors, file, {"format": "pt"})
    return destination
