"""Plain tensors for any model: token ids with the places of an image, and pixels.

What a model wants is read from its signature and its configuration; how many places an image takes
is what its own vision part gives.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from benchmarks.families.tiny import FIRST_MARK

RECORDS, TOKENS, PADDED = 2, 10, 3
_WORDS = 64  # ids from here on are ordinary words: above every special token
_IMAGE = ("image_token_id", "image_token_index", "image_patch_id")

Batch = dict[str, Tensor]


def batches_for(
    model: PreTrainedModel, changes: Mapping[str, Any], *, count: int = 2
) -> list[Batch]:
    """Batches of two records each; the last record of the last one is padded where it can be."""
    made = [_batch(model, changes, seed) for seed in range(count)]
    mask = made[-1].get("attention_mask")
    if mask is not None and not any(value.is_floating_point() for value in made[-1].values()):
        mask[-1, -PADDED:] = 0
    return made


def _batch(model: PreTrainedModel, changes: Mapping[str, Any], seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    wanted = frozenset(inspect.signature(model.forward).parameters)
    batch: Batch = {}
    if "pixel_values" in wanted:
        batch |= _pixels(model, wanted, changes, generator)
        _put(batch, changes.get("pixels", {}), generator, model)
    if "input_ids" in wanted:
        places = changes.get("places")
        if places is None and "pixel_values" in batch:
            places = _places(model, batch)
        batch |= _words(model, wanted, places or 0, generator)
    if "decoder_input_ids" in wanted and getattr(model.config, "is_encoder_decoder", False):
        ids = _random_ids(model, TOKENS - 2, generator)
        batch |= {"decoder_input_ids": ids, "labels": ids.clone()}
        if "labels" not in wanted:
            del batch["labels"]
    _put(batch, changes.get("inputs", {}), generator, model)
    return batch


def _put(batch: Batch, changes: Mapping[str, Any], generator: Any, model: PreTrainedModel) -> None:
    for key, make in changes.items():
        if make is None:
            batch.pop(key, None)
        else:
            batch[key] = make(batch, generator, model)


def random(generator: torch.Generator, *shape: int) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=generator)


def _pixels(
    model: PreTrainedModel, wanted: frozenset[str], changes: Mapping[str, Any], generator: Any
) -> Batch:
    config = _vision_config(model)
    size, patch = _number(config, "image_size", 32), _number(config, "patch_size", 8)
    channels = _number(config, "num_channels", _number(config, "in_channels", 3))
    grid = next((name for name in ("image_grid_thw", "grid_thw") if name in wanted), None)
    if grid and not changes.get("square"):
        side = 4
        frames = _number(config, "temporal_patch_size", _number(config, "patch_temporal", 1))
        row = channels * frames * patch * patch
        pixels = random(generator, RECORDS * side * side, row)
        return {"pixel_values": pixels, grid: torch.tensor([[1, side, side]] * RECORDS)}
    batch = {"pixel_values": random(generator, RECORDS, channels, size, size)}
    if "pixel_attention_mask" in wanted and changes.get("pixel_mask", False):
        batch["pixel_attention_mask"] = torch.ones(RECORDS, size, size, dtype=torch.long)
    if "image_sizes" in wanted:
        batch["image_sizes"] = torch.tensor([[size, size]] * RECORDS)
    return batch


def _words(
    model: PreTrainedModel, wanted: frozenset[str], places: int, generator: torch.Generator
) -> Batch:
    ids = _random_ids(model, TOKENS, generator)
    mark = image_mark(model)
    if places and mark is not None:
        image = torch.full((RECORDS, places), mark)
        ids = torch.cat([ids[:, :1], image, ids[:, 1:]], 1)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in wanted or ("token_type_ids" in wanted and mark is not None):
        name = "mm_token_type_ids" if "mm_token_type_ids" in wanted else "token_type_ids"
        batch[name] = (ids == (-1 if mark is None else mark)).long()
    return batch


def _random_ids(model: PreTrainedModel, count: int, generator: torch.Generator) -> Tensor:
    rows = getattr(model.config.get_text_config(), "vocab_size", 192)
    ids = torch.randint(_WORDS, rows, (RECORDS, count), generator=generator)
    ids[:, 0] = 1
    return ids


def image_mark(model: PreTrainedModel) -> int | None:
    configs = (model.config, getattr(model.config, "vlm_config", None))
    found = (getattr(config, name, None) for config in configs for name in _IMAGE)
    return next((mark for mark in found if isinstance(mark, int) and mark >= FIRST_MARK), None)


def _places(model: PreTrainedModel, batch: Batch) -> int:
    """Places that one image takes in the text: rows of what the model makes of its pixels."""
    if image_mark(model) is None:
        return 0
    for owner in (getattr(model, "model", None), model):
        read = getattr(owner, "get_image_features", None)
        if read is None:
            continue
        accepted = inspect.signature(read).parameters
        given = {key: value for key, value in batch.items() if key in accepted}
        with torch.no_grad():
            return _rows(read(**given)) // RECORDS
    return 0


def _rows(features: Any) -> int:
    if isinstance(features, ModelOutput):
        pooled = features.get("pooler_output")
        features = pooled if pooled is not None else features[0]
    if isinstance(features, Tensor):
        return features.shape[:-1].numel()
    return sum(_rows(each) for each in features)


def _vision_config(model: PreTrainedModel) -> Any:
    for name in ("vision_config", "vision_encoder_config", "encoder", "vit_config", "vq_config"):
        if (found := getattr(model.config, name, None)) is not None:
            return found
    return model.config


def _number(config: Any, name: str, otherwise: int) -> int:
    found = getattr(config, name, None)
    if isinstance(found, list | tuple):
        found = found[0]
    return found if isinstance(found, int) else otherwise
