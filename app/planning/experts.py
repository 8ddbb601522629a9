"""Experts that tensors of the files hold, told from their names, shapes and config.json.

A job sees the projections of each expert as matrices of their own, by the classes of the model;
these rules stand in for those where no weight is read. How many experts may go is told here too.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.planning.model_files.files import MOST_TENSORS, number, section
from app.recipes.structure import NothingLeftError, NothingTakenError, taken_of

_PACKED = 3  # dimensions
_GATED = re.compile(r"gate_up|input_linear|\.fc1\b")
_CHOSEN = re.compile(
    r"experts_per_tok|(moe|router|experts?)_top_?k$|top_?k_experts$|moe_k$|num_selected_experts$"
)
_ONE_BELOW_THE_OTHER = re.compile(r"\.experts\.mlp\.(?:w1|v1|w2)$")
_TURNED = {"gpt_oss", "llama4", "llama4_text", "aria", "openai_privacy_filter"}
_LABELS = {"w1": "gate_proj", "v1": "up_proj", "w2": "down_proj"}
_LABELS |= {"output_linear": "down_proj", "fc2": "down_proj"}
_COUNT = re.compile(r"^(moe_)?(num|n)_(local_|routed_)?experts$")
_SINGLE = re.compile(r"(^|\.)experts\.(?P<number>\d+)\.")
_ROUTED = re.compile(
    r"(^|[._])(experts?|router|wg|block_sparse_moe|moe_statics|e_score_correction_bias)([._]|$)"
    r"|(^|\.)gate\.|[._]moe\."
)
_SHARED = re.compile(r"shared")
_GROUPS = ("n_group", "num_expert_group", "moe_n_group")
_CHOSEN_GROUPS = ("topk_group", "num_limited_groups")
_IN_A_GROUP = 2  # DeepSeek-V3 ranks groups by their two best experts


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
    parts = [text, *(part for part in text.values() if isinstance(part, dict))]
    named = (value for part in parts for name, value in part.items() if _CHOSEN.search(str(name)))
    return next((value for value in named if type(value) is int and value > 0), 1 << 20)


def counted_experts(config: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """How many experts a mixture has, and the part of the configuration that says so; 0 if none."""
    text = section(config, "text_config")
    for part in (text, *(part for part in text.values() if isinstance(part, dict))):
        for name in part:
            if _COUNT.search(name) and (found := number(part, name)) > 1:
                return found, part
    return 0, {}


def without_experts(
    path: str, shape: tuple[int, ...], count: int, kept: int, extra: int
) -> tuple[int, ...] | None:
    """What becomes of a tensor where `kept` of `count` experts stay; None: it goes.

    Args:
        path: its name in its block.
        shape: as stored.
        count: experts there are.
        kept: experts that stay.
        extra: experts after them that pass on what they are given, and stay.
    """
    if match := _SINGLE.search(path):
        return None if kept <= int(match["number"]) < count else shape
    if not _ROUTED.search(path) or _SHARED.search(path):
        return shape
    if _ONE_BELOW_THE_OTHER.search(f".{path}"):
        return (shape[0] // count * kept, *shape[1:])
    if shape[:1] == (1,) and shape[1:] == (count,):
        return (1, kept)
    first = shape[0] if shape else 0
    return (first - count + kept, *shape[1:]) if first in {count, count + extra} else shape


def holds_experts(path: str, shape: tuple[int, ...], count: int) -> bool:
    """Whether a tensor of a block holds the weights of experts."""
    if _SHARED.search(path):
        return False
    if _SINGLE.search(path) or _ONE_BELOW_THE_OTHER.search(f".{path}"):
        return True
    return len(shape) == _PACKED and shape[0] == count and bool(_ROUTED.search(path))


def experts_kept(count: int, removed: float, part: Mapping[str, Any], where: str) -> int:
    """How many of `count` experts stay.

    Args:
        count: as it is.
        removed: share to take out.
        part: of the configuration, with the number of experts in it.
        where: what to call the part in a refusal.

    Raises:
        NothingLeftError: no expert would go, fewer stay than a token is routed to, or those that
            stay cannot be shared out among the groups that routing is limited to.
    """
    kept = count - taken_of(count, removed)
    chosen, groups = chosen_experts(part), expert_groups(part, count)
    said = f"{where}: removing a share of {removed:g} leaves {kept} of {count} experts"
    if kept == count:
        raise NothingTakenError(f"{said}; at least one has to go", where, "experts")
    if kept == 0:
        raise NothingLeftError(f"{said}; at least one has to stay")
    if kept < chosen <= count:
        raise NothingLeftError(f"{said}; every token is routed to {chosen}")
    if groups == 1:
        return kept
    if kept % groups:
        raise NothingLeftError(
            f"{said}; they have to be a multiple of the {groups} groups that routing is limited "
            f"to, such as {max(1, kept // groups) * groups} or {-(-kept // groups) * groups}"
        )
    searched = _first(part, _CHOSEN_GROUPS) or groups
    least = max(-(-min(chosen, count) // searched), min(_IN_A_GROUP, count // groups))
    if kept // groups < least:
        raise NothingLeftError(
            f"{said}, {kept // groups} in each of {groups} groups; routing takes at least {least} "
            "from a group"
        )
    return kept


def expert_groups(part: Mapping[str, Any], count: int) -> int:
    """How many groups of neighbours the experts fall into; one where any may be chosen."""
    found = _first(part, _GROUPS) or 1
    return found if count % found == 0 else 1


def _first(part: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((found for name in names if (found := number(part, name))), 0)


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
