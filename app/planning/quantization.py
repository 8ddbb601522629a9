"""What of a model would be stored in 8 bits, as far as names and shapes tell.

The worker decides by the model's classes; these rules stand in for it, and refuse what it would.
"""

from app.planning.model_files.outlines import Outline
from app.planning.plan import PlannedMatrix, candidates
from app.recipes.module_patterns import has_experts
from app.recipes.quantization import WITH_EXPERTS, NotQuantizableError, QuantizationReport
from app.recipes.recipe import Recipe

_BYTE = 8  # bits
_TRANSPOSED = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}  # Conv1D in their blocks
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
    if (kind := outline.config.get("model_type")) in _TRANSPOSED:
        raise NotQuantizableError(
            f"the blocks of {kind} hold their weights transposed, in no linear layer, so a loader "
            "of the compressed-tensors format passes them by. Leave quantization out"
        )
    matrices = quantizable(outline)
    if outline.tensors and not matrices:
        raise NotQuantizableError("no matrix in a block of the model is that of a linear layer")
    weights = sum(matrix.numel for matrix in matrices)
    return QuantizationReport(
        kind=recipe.quantization,
        matrices=len(matrices),
        weights=weights,
        bytes=weights + sum(m.shape[0] * m.bits // _BYTE for m in matrices),
        bytes_before=sum(m.numel * m.bits // _BYTE for m in matrices),
    )


def quantizable(outline: Outline) -> list[PlannedMatrix]:
    """The matrices of blocks that linear layers have, whatever is pruned of them."""
    every = Recipe(sparsity=0.5)
    attention = {key.rpartition(".")[0] for key in outline.tensors if key.endswith(_PACKED[0])}
    return [
        matrix
        for matrix in candidates(outline.tensors, outline.config, every)
        if not any(matrix.file_key == f"{name}.{end}" for name in attention for end in _PACKED)
    ]
