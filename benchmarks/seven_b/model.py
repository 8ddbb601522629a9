"""A random LLaVA-1.5-7B in bfloat16, written shard by shard; memory does not grow with it."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from workers.pruning.models.files import INDEX_FILE, header_of

LANGUAGE, VISION = 32, 24  # blocks of the real model
PATCHES, TEXT, IMAGE_TOKEN = 576, 24, 32000
_SIDE = 336
_SHARD = 2 << 30  # bytes of the largest shard, about
_NOISE = 1 << 22  # values that are drawn; tensors are made of them in turn


def config(layers: int) -> LlavaConfig:
    """The configuration with so many of the 32 language blocks, and vision blocks in proportion."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=max(2, VISION * layers // LANGUAGE),
        num_attention_heads=16,
        image_size=_SIDE,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        vocab_size=32064,
    )
    found = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN)
    found.architectures = ["LlavaForConditionalGeneration"]
    return found


def write(directory: Path, layers: int) -> None:
    """Write the checkpoint; shards that an earlier call has finished stay."""
    directory.mkdir(parents=True, exist_ok=True)
    config(layers).save_pretrained(directory)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config(layers))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    noise = torch.randn(_NOISE, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    places: dict[str, str] = {}
    for number, names in enumerate(_shards(shapes)):
        file = f"model-{number:05d}.safetensors"
        places |= dict.fromkeys(names, file)
        if not (directory / file).exists():
            _write_shard(directory / file, {name: shapes[name] for name in names}, noise)
            print(f"wrote {file}", flush=True)
    index = {"metadata": {}, "weight_map": places}
    (directory / INDEX_FILE).write_text(json.dumps(index))


def batches(samples: int) -> list[dict[str, torch.Tensor]]:
    """An image and a text each; one record a batch."""
    draw = torch.Generator().manual_seed(1)
    made = []
    for _ in range(samples):
        text = torch.randint(3, IMAGE_TOKEN, (1, TEXT), generator=draw)
        ids = torch.cat([torch.full((1, PATCHES), IMAGE_TOKEN), text], dim=1)
        pixels = torch.randn(1, 3, _SIDE, _SIDE, generator=draw)
        mask = torch.ones_like(ids)
        made.append({"input_ids": ids, "attention_mask": mask, "pixel_values": pixels})
    return made


def _shards(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    names, size = list[str](), 0
    for name, shape in shapes.items():
        names.append(name)
        size += 2 * math.prod(shape)
        if size >= _SHARD:
            yield names
            names, size = [], 0
    if names:
        yield names


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]], noise: torch.Tensor) -> None:
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        stream.write(header_of({name: ("BF16", s) for name, s in shapes.items()}, {"format": "pt"}))
        for turn, (name, shape) in enumerate(shapes.items()):
            values = noise.roll(997 * turn)
            if "norm" in name:
                values = torch.full_like(noise, float(name.endswith("weight")))
            raw = values.view(torch.uint8).numpy()
            left = [*range(0, 2 * math.prod(shape), len(raw)), 2 * math.prod(shape)]
            for begin, end in pairwise(left):
                stream.write(raw[: end - begin].data)
    unfinished.rename(file)
