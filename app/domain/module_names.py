"""From the names of a checkpoint's tensors to those of the model's modules, without its classes.

Old files of some families name tensors by an older layout, which transformers renames while it
loads. The rules here are held against the families' real models by tests.
"""

import re
from collections.abc import Mapping
from typing import Any

_TOWERS = (
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head", "lm_head"),
    (r"^(?:model\.)?vision_tower\.(?:vision_model\.)?", "model.vision_tower."),
    (r"^multi_modal_projector\.", "model.multi_modal_projector."),
)
_QWEN = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?=(?:layers|embed_tokens|norm)\.)", "model.language_model."),
)
_VIT = (
    (r"\.encoder\.layer\.", ".layers."),
    (r"\.attention\.attention\.(query|key|value)", r".attention.\1"),
    (r"\.attention\.query", ".attention.q_proj"),
    (r"\.attention\.key", ".attention.k_proj"),
    (r"\.attention\.value", ".attention.v_proj"),
    (r"\.attention\.output\.dense", ".attention.o_proj"),
    (r"\.intermediate\.dense", ".mlp.fc1"),
    (r"\.output\.dense", ".mlp.fc2"),
)
_PLAIN = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "opt", "gpt2", "bert", "t5"),
    *("clip", "siglip", "blip", "blip-2", "instructblip", "idefics3", "smolvlm"),
)
_RENAMED = {
    **dict.fromkeys(_PLAIN, ()),
    **dict.fromkeys(("llava", "llava_next", "paligemma"), _TOWERS),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _QWEN),
    "vit": _VIT,
}
_RULES = {
    kind: tuple((re.compile(old), new) for old, new in rules) for kind, rules in _RENAMED.items()
}


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether the rules of the model's family are known."""
    return _kind(config) in _RULES


def module_name(key: str, config: Mapping[str, Any]) -> str:
    """The module whose weight, or the parameter which, lies in the files as `key`."""
    name = key.removesuffix(".weight")
    for old, new in _RULES.get(_kind(config), ()):
        name = old.sub(new, name)
    return name


def given_as(name: str, *keys: str) -> tuple[str, ...]:
    """Names that a matrix may be given by: its module's, and its tensor's in the files.

    Args:
        name: of the module.
        keys: of the tensor; several where the files hold it more than once.
    """
    return name, f"{name}.weight", *keys, *(key.removesuffix(".weight") for key in keys)


def _kind(config: Mapping[str, Any]) -> str:
    found = config.get("model_type")
    return found if isinstance(found, str) else ""
