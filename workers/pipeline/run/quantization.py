"""Weights in 8 bits as a step of a job: between pruning and measuring."""

from typing import TYPE_CHECKING

from app.recipes.pruning_report import PruningReport
from app.recipes.quantization import Quantized
from workers.pruning.models.adapter import Adapter

if TYPE_CHECKING:
    from workers.pruning.models.quantization import Quantizer

_NEARLY_ALL = 0.99


def quantizer(adapter: Adapter, kind: Quantized) -> "Quantizer":
    """What quantises the model; its library is imported where a job asks for it.

    Raises:
        NotQuantizableError: the model has nothing to quantise.
    """
    from workers.pruning.models.quantization import Quantizer  # noqa: PLC0415  see above

    return Quantizer(adapter, kind)


def rounded(
    adapter: Adapter, kind: Quantized, report: PruningReport
) -> tuple["Quantizer", PruningReport]:
    """Round a model's weights to what 8 bits hold; what writes them, and the report with it."""
    made = quantizer(adapter, kind)
    found = made.round()
    warnings, share = report.warnings, found.block_share or 0.0
    if share < _NEARLY_ALL:
        text = (
            f"quantization: {share:.1%} of the weights in blocks are stored in 8 bits; the others "
            "are of no linear layer that the files hold as it is, and stay as they were"
        )
        warnings = (*warnings, text)
    return made, report.model_copy(update={"quantization": found, "warnings": warnings})
