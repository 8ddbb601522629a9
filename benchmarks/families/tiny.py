"""Configurations of any family, shrunk by the names of their fields."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY, WIDTH, LAYERS, HEADS = 192, 32, 2, 4
FIRST_MARK = 8  # ids below it: padding, begin, end; from it on: places of images and the like

# Name of a field -> its size where the default is larger; the first that matches counts.
_SIZES: tuple[tuple[str, int], ...] = (
    (r"vocab_size(_per_layer_input)?|.*vocab_size|n_vocab", VOCABULARY),
    (r"num_hidden_layers|n_layers?|num_layers|depth|(num_)?(en|de)coder_layers", LAYERS),
    (r"num_(en|de)coder_layers|\w*num_hidden_layers|layers|num_block_layers", LAYERS),
    (r"(n|num)_kv_heads|num_key_value_heads|\w*key_value_heads", 2),
    (r"(linear_num|mamba_n|\w*)_?(attention|key|value|mamba)_heads|n_heads?|num_heads?", 4),
    (r"num_attention_heads|\w*attention_heads|((mamba|index|indexer)_)?(num|n)_heads", 4),
    (r"global_head_dim|\w*head_dim|head_size|d_kv|kv_channels|key_length", 8),
    (r"(q|kv|o|index)_lora_rank|\w*lora_rank", 16),
    (r"moe_\w*intermediate_size|\w*expert\w*(intermediate|ffn)\w*size", 24),
    (r"\w*intermediate_(size|dim)|\w*ffn_(dim|hidden_size)|d_ff|\w*mlp_dim|n_inner", 48),
    (r"(num|n)_(local|routed)_experts|num_experts|moe_num_experts|n_experts", 4),
    (r"num_experts_per_tok|moe_k|top_k_experts|moe_top_k|top_k", 2),
    (r"n_group|topk_group|num_expert_group|n_shared_experts|first_k_dense_replace", 1),
    (r"hidden_size(_per_layer_input)?|\w*hidden_(size|dim)|d_model|\w*embed_dim|n_embd|dim", WIDTH),
    (r"width|\w*embed(ding)?_(size|dim)|\w*_dim|projection_(dim|size)|\w*output_dim", WIDTH),
    (r"image_size|img_size|\w*image_size|resolution", 32),
    (r"patch_size|\w*patch_size", 8),
    (r"rel_extent", 16),
    (r"max_position_embeddings|n_positions|max_seq_len\w*|\w*positions", 512),
    (r"num_query_tokens|query_length|num_queries|n_queries|\w*num_latents", 4),
    (r"sliding_window|attention_chunk_size", 16),
)
_NEVER_NONE = {"head_dim": 8, "num_key_value_heads": 4}
_ORDINARY = {"pad": 0, "bos": 1, "eos": 2, "decoder_start": 1, "sep": 2, "cls": 1, "unk": 3}


class Marks:
    """Ids of special tokens, the same for every part of a configuration."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def of(self, field: str) -> int:
        """Id of the token that a field names."""
        name = re.sub(r"_token_(id|index)$", "", field)
        if name in _ORDINARY:
            return _ORDINARY[name]
        return self.ids.setdefault(name, FIRST_MARK + len(self.ids))


def tiny(
    config_class: type[PreTrainedConfig], changes: Mapping[str, Any], marks: Marks | None = None
) -> PreTrainedConfig:
    """A configuration of the class with few and narrow layers.

    Args:
        config_class: any of transformers'.
        changes: fields that take other values than their names tell; a field of a part is written
            `part.field`.
        marks: filled with the ids given to special tokens.
    """
    given = _own(changes)
    return config_class(**(_shrunk(config_class(), changes, marks or Marks()) | given))


def _shrunk(config: PreTrainedConfig, changes: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]  # a decorator makes them dataclasses
    counts = {_of(config, name) for name in fields if _size(name) == LAYERS}
    found: dict[str, Any] = {}
    for name in sorted(fields):
        value = changes.get(name, _of(config, name))
        if isinstance(value, str) and name.endswith("_config"):
            value = getattr(transformers, value)()
        if isinstance(value, PreTrainedConfig):
            found[name] = _part(value, _below(name, changes), marks)
        elif isinstance(value, list | tuple) and len(value) in counts:
            found[name] = list(value[:LAYERS])
        elif (small := _number(name, value, marks)) is not None:
            found[name] = small
    if _of(config, "num_key_value_heads") == _of(config, "num_attention_heads"):
        found |= dict.fromkeys(fields & {"num_key_value_heads", "num_attention_heads"}, HEADS)
    kinds = _kinds(_of(config, "layer_types") if "layer_types" in fields else None)
    if len(kinds) > 1:
        found |= {"layer_types": kinds, "num_hidden_layers": len(kinds)}
    sized = {**{name: _of(config, name) for name in fields}, **found, **changes}
    for name in fields & {"rope_parameters", "rope_scaling"}:
        if isinstance(value := _of(config, name), dict):
            found[name] = _sections(value, sized)
    return found


def _number(name: str, value: Any, marks: Marks) -> int | None:
    """What a number becomes; None where it stays as it is."""
    if value is None:
        return _NEVER_NONE.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if re.search(r"token_(id|index)$", name):
        return marks.of(name)
    size = _size(name)  # said even where it is small: a part's own default may not be
    return None if size is None else min(value, size)


def _of(config: PreTrainedConfig, name: str) -> Any:
    """A field's value; None where it has none for the whole model."""
    try:
        return getattr(config, name, None)
    except RuntimeError:  # one that differs from layer to layer
        return None


def _kinds(layer_types: Any) -> list[str]:
    """One layer of every kind that there is, twice where there is one kind alone."""
    return list(dict.fromkeys(layer_types)) if isinstance(layer_types, list) else []


def _sections(rope: dict[str, Any], sized: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings whose sections fit the head."""
    found = {k: _sections(v, sized) if isinstance(v, dict) else v for k, v in rope.items()}
    if "mrope_section" in found:
        width = sized.get("head_dim") or sized["hidden_size"] // sized["num_attention_heads"]
        share = found.get("partial_rotary_factor") or sized.get("partial_rotary_factor") or 1
        half = int(width * share) // 2
        found["mrope_section"] = [half - 2 * (half // 4), half // 4, half // 4]
    return found


def _part(config: PreTrainedConfig, changes: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    fresh = type(config)(**(_shrunk(config, changes, marks) | _own(changes)))
    return fresh.to_dict()


def _own(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a configuration itself, not of its parts or of the class of one."""
    return {
        key: value
        for key, value in changes.items()
        if "." not in key and not (key.endswith("_config") and isinstance(value, str))
    }


def _below(part: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{part}."
    return {key[len(start) :]: value for key, value in changes.items() if key.startswith(start)}


def _size(name: str) -> int | None:
    return next((size for pattern, size in _SIZES if re.fullmatch(pattern, name)), None)


def build(name: str, changes: Mapping[str, Any], marks: Marks) -> PreTrainedModel:
    """A model of the class, tiny and random, the same every time."""
    model_class: Any = getattr(transformers, name)
    torch.manual_seed(0)
    config = tiny(model_class.config_class, changes, marks)
    model: PreTrainedModel = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Gates begin at zero and would keep a tower from mattering.
            if parameter.is_floating_point() and (
                parameter.ndim > 1 or not parameter.any() or not parameter.isfinite().all()
            ):
                parameter.normal_(0, 0.1)
    return model
