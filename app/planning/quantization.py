"""What of a model would be stored in 8 bits, as far as names and shapes tell.

The worker decides by the model's classes; these rules stand in for it, and refuse what it would.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.planning.model_files.files import architecture
from app.planning.model_files.outlines import Outline
from app.planning.plan import PlannedMatrix, candidates
from app.recipes.module_patterns import has_experts
from app.recipes.quantization import (
    CONVERTED,
    NO_LAYER,
    WITH_EXPERTS,
    NotQuantizableError,
    QuantizationReport,
)
from app.recipes.recipe import Recipe

_BYTE = 8  # bits
_TRANSPOSED = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}  # Conv1D in their blocks
_OWN_LINEAR = {"falcon"}  # a layer of its own, which no loader of the format takes for linear
# Types of models or of parts, of whose weights transformers makes several when it loads them, ...
_CUT = {
    *("dinov2", "dinov2_with_registers", "gradium_phonon_tts", "hrm_text", "inkling_mm_model"),
    *("molmo2", "molmo2_text", "nemo_speechlm", "qianfan_ocr", "rf_detr", "sapiens2"),
    *("step3p5_vision", "tipsv2_text_model", "tipsv2_vision_model", "unlimited_ocr_vision_encoder"),
}
# ... or one of several, where the files hold them under such names.
_SHORT = re.compile(r"\.[qkv]_conv1d\.weight$")
_JOINED = dict.fromkeys(
    ("bailing_hybrid", "glm5_next", "glm5_next_text", "kimi_linear", "olmo_hybrid"), _SHORT
)
_FUSED = re.compile(r"\.(Wqkv|qkv|qkv_proj|up_gate_proj)\.weight$")
_JOINED |= dict.fromkeys(("gte", "jina_embeddings_v3", "nomic_bert", "radio"), _FUSED)
_PACKED = ("in_proj_weight", "out_proj.weight")  # read by packed attention, past its modules


def plan_quantization(outline: Outline, recipe: Recipe) -> QuantizationReport | None:
    """What is stored in 8 bits; None where nothing is to be.

    Args:
        outline: of the model, its structure taken out.
        recipe: what is done to it.

    Raises:
        NotQuantizableError: transformers would not load the result.
    """
    if recipe.quantization is None:
        return None
    if has_experts(outline.tensors):
        raise NotQuantizableError(WITH_EXPERTS)
    name = architecture(outline.config) or "the model"
    if _is_converted(outline):
        raise NotQuantizableError(CONVERTED.format(name=name))
    if (kind := outline.config.get("model_type")) in _TRANSPOSED:
        raise NotQuantizableError(
            f"the blocks of {kind} hold their weights transposed, in no linear layer, so a loader "
            "of the compressed-tensors format passes them by. Leave quantization out"
        )
    matrices = quantizable(outline)
    if outline.tensors and (not matrices or kind in _OWN_LINEAR):
        raise NotQuantizableError(NO_LAYER.format(name=name))
    weights = sum(matrix.numel for matrix in matrices)
    return QuantizationReport(
        kind=recipe.quantization,
        matrices=len(matrices),
        weights=weights,
        bytes=weights + sum(m.shape[0] * m.bits // _BYTE for m in matrices),
        bytes_before=sum(m.numel * m.bits // _BYTE for m in matrices),
    )


def _is_converted(outline: Outline) -> bool:
    """Whether transformers cuts stored weights of the model or puts them together."""
    kinds = set(_types(outline.config))
    joined = [pattern for kind, pattern in _JOINED.items() if kind in kinds]
    held = any(pattern.search(key) for pattern in joined for key in outline.tensors)
    return held or not kinds.isdisjoint(_CUT)


def _types(config: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration and its sections say they are."""
    sections = [config, *(value for value in config.values() if isinstance(value, Mapping))]
    for each in sections:
        if isinstance(kind := each.get("model_type"), str):
            yield kind


def quantizable(outline: Outline) -> list[PlannedMatrix]:
    """The matrices of blocks that linear layers have, whatever is pruned of them."""
    every = Recipe(sparsity=0.5)
    attention = {key.rpartition(".")[0] for key in outline.tensors if key.endswith(_PACKED[0])}
    return [
        matrix
        for matrix in candidates(outline.tensors, outline.config, every)
        if not any(matrix.file_key == f"{name}.{end}" for name in attention for end in _PACKED)
    ]
