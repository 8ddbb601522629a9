"""Weights stored in 8 bits: what is asked for, and what came of it."""

from typing import Literal, TypeAlias

from pydantic import Field

from app.errors import RecipeError
from app.strict import Strict

Quantized: TypeAlias = Literal["int8", "fp8"]


class NotQuantizableError(RecipeError):
    """The model cannot be stored in 8 bits so that transformers loads it; the message says why."""

    code = "quantization_not_applicable"


WITH_EXPERTS = (
    "the model is a mixture of experts; transformers holds the experts of a layer in one "
    "parameter, and does not load them where they are quantised. Leave quantization out"
)
CONVERTED = (
    "{name}: transformers cuts stored weights of it or puts them together, which it does in no "
    "files of this format. Leave quantization out"
)
NO_LAYER = (
    "{name}: no weight in its blocks is that of a linear layer which the files hold as it is, so "
    "there is nothing to quantise"
)


class QuantizationReport(Strict):
    """The matrices that are stored in 8 bits.

    Attributes:
        kind: int8 or fp8.
        matrices: how many there are.
        weights: in them.
        zeros: of these, in the files.
        rounded_to_zero: weights that pruning had kept, and that are too small for 8 bits.
        rounded: these by tensor of the files, without those that have none; in
            pruning_report.json alone.
        block_share: share of the weights in blocks that all these are; None in a plan.
        bytes: of the matrices with their scales.
        bytes_before: of the same in the type that the model is stored in.
        left: linear layers that stay as they are: heads, projectors, routers; None in a plan.
    """

    kind: Quantized
    matrices: int
    weights: int
    zeros: int | None = None
    rounded_to_zero: int | None = None
    rounded: dict[str, int] = Field(default={})
    bytes: int
    bytes_before: int
    block_share: float | None = None
    left: int | None = None
