"""Checkpoints in a form that cannot be pruned, told by names, types and shapes of their tensors."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from app.errors import ModelLoadError

_DO = (
    "prune the floating-point checkpoint that it was made from, and quantise the result afterwards"
)
_FORMS = (
    (re.compile(r"\.(qweight|qzeros|g_idx)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(absmax|quant_map|nested_absmax|SCB)$|\.quant_state\b"), "bitsandbytes"),
    (
        re.compile(r"\.weight_(packed|shape|zero_point|scale_inv|scale)$"),
        "compressed-tensors or FP8",
    ),
    (re.compile(r"_proj_(blocks|scales)$"), "MXFP4"),
    (re.compile(r"\.weight\.(_data|_scale|_packed)$"), "optimum-quanto"),
)
_LORA = re.compile(r"\.lora_(A|B|embedding_A|embedding_B)\b")
_FLOATS = {"F64", "F32", "F16", "BF16"}
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|shared)\.weight$")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim")


class Stored(Protocol):
    """What is looked at of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""

    @property
    def dtype(self) -> str:
        """The format's name, such as BF16."""


def check_form(config: Mapping[str, Any], tensors: Mapping[str, Stored]) -> None:
    """Refuse a checkpoint whose weights are not plain floating-point matrices of the right size.

    Args:
        config: of config.json.
        tensors: of the files' headers, by name.

    Raises:
        ModelLoadError: the message has the form, a tensor that shows it, and what to do.
    """
    _refuse_said(config)
    for name, tensor in tensors.items():
        if _LORA.search(name):
            raise ModelLoadError(
                f"{name} belongs to a LoRA adapter that was never merged; merge it into its base "
                "model (peft: merge_and_unload) and save that"
            )
        form = next((form for pattern, form in _FORMS if pattern.search(name)), None)
        if form is not None:
            raise ModelLoadError(f"the checkpoint is quantised ({form}, as {name} shows); {_DO}")
        if name.endswith("weight") and len(tensor.shape) > 1 and tensor.dtype not in _FLOATS:
            raise ModelLoadError(
                f"the checkpoint is quantised: {name} is stored as {tensor.dtype}, though "
                f"config.json says nothing of it; {_DO}"
            )
    _refuse_other_sizes(config, tensors)


def _refuse_said(config: Mapping[str, Any]) -> None:
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for key in ("quantization_config", "compression_config", "quantization"):
        found = next((part[key] for part in parts if part.get(key)), None)
        if found is not None:
            kind = found.get("quant_method") if isinstance(found, dict) else None
            named = f"{key}: {kind}" if isinstance(kind, str) else key
            raise ModelLoadError(f"the checkpoint is quantised ({named}); {_DO}")


def _refuse_other_sizes(config: Mapping[str, Any], tensors: Mapping[str, Stored]) -> None:
    """Of plain language models; composite ones have tables of their own sizes (Mllama's)."""
    if "text_config" in config:
        return
    rows = config.get("vocab_size")
    widths = {config[name] for name in _WIDTHS if type(config.get(name)) is int}
    for name, tensor in tensors.items():
        if len(tensor.shape) != 2 or not _EMBEDDING.search(name):  # noqa: PLR2004 (a matrix)
            continue
        if type(rows) is int and tensor.shape[0] != rows:
            raise ModelLoadError(
                f"{name} has {tensor.shape[0]} rows, and config.json says vocab_size {rows}; it is "
                "the configuration of another model, or tokens were added without saving it"
            )
        if widths and tensor.shape[1] not in widths:
            raise ModelLoadError(
                f"{name} is {tensor.shape[1]} wide, and config.json says {min(widths)}; it is the "
                "configuration of another model"
            )
