"""Experts that one tensor of the files packs together, told from its name, shape and config.json.

A job sees the projections of each expert as matrices of their own, by the classes of the model;
these rules stand in for those where no weight is read.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.planning.model_files.files import MOST_TENSORS, number, section

_PACKED = 3  # dimensions
_GATED = re.compile(r"gate_up|input_linear|\.fc1\b")
_CHOSEN = re.compile(r"experts_per_tok|top_?k(_experts)?$|moe_k$")
_ONE_BELOW_THE_OTHER = re.compile(r"\.experts\.mlp\.(?:w1|v1|w2)$")
_TURNED = {"gpt_oss", "llama4", "llama4_text", "aria", "openai_privacy_filter"}
_LABELS = {"w1": "gate_proj", "v1": "up_proj", "w2": "down_proj"}
_LABELS |= {"output_linear": "down_proj", "fc2": "down_proj"}


def packed_experts(
    key: str, shape: tuple[int, ...], config: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """The matrices (out_features, in_features) that a tensor packs, by their names in it.

    Args:
        key: name of the tensor in the files.
        shape: as stored.
        config: of config.json.

    Returns:
        `0.gate_proj`, `0.up_proj`, `1.gate_proj`, ...; nothing for a tensor that packs no experts.
    """
    counts = {count for count in _counts(config) if count <= MOST_TENSORS}
    last = key.removesuffix(".weight").rpartition(".")[2]
    if _ONE_BELOW_THE_OTHER.search(key) and counts:
        count = max(counts)
        rows, columns = shape[0] // count, shape[1]
        each = (columns, rows) if last == "w2" else (rows, columns)
        return {f"{index}.{_LABELS[last]}": each for index in range(count)}
    if len(shape) != _PACKED or shape[0] not in counts or min(shape[1:]) < 2 or "conv" in key:  # noqa: PLR2004
        return {}
    gated = bool(_GATED.search(key))
    out, inner = (shape[2], shape[1]) if _is_turned(shape, config, gated=gated) else shape[1:]
    labels = ("gate_proj", "up_proj") if gated else (_LABELS.get(last, last),)
    return {
        f"{index}.{label}": (out // len(labels), inner)
        for index in range(shape[0])
        for label in labels
    }


def chosen_experts(config: Mapping[str, Any]) -> int:
    """How many experts a token is routed to; all where the configuration does not say."""
    text = section(config, "text_config")
    named = (value for name, value in text.items() if _CHOSEN.search(name))
    return next((value for value in named if type(value) is int and value > 0), 1 << 20)


def _counts(config: Mapping[str, Any]) -> list[int]:
    """How many experts a layer may have: whatever the configuration counts experts by."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    named = [(name, value) for part in parts for name, value in part.items() if "expert" in name]
    found = [value for _, value in named if type(value) is int and value > 1]
    extra = number(section(config, "text_config"), "zero_expert_num")
    return found + [each + extra for each in found if extra]


def _is_turned(shape: tuple[int, ...], config: Mapping[str, Any], *, gated: bool) -> bool:
    """Whether it is stored as (experts, in, out)."""
    text = section(config, "text_config")
    hidden = number(text, "hidden_size")
    first, second = shape[1:]
    if (first == hidden) != (second == hidden):  # the width that all experts share
        return (first if gated else second) == hidden
    return bool({str(text.get("model_type")), str(config.get("model_type"))} & _TURNED)
