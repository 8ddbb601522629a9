"""The parts of a vision-language model, and a target sparsity for all or for each of them."""

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import Field


class Modality(StrEnum):
    """Which part of a vision-language model a matrix serves."""

    VISION = "vision"
    AUDIO = "audio"
    BRIDGE = "bridge"
    TEXT = "text"
    FUSION = "fusion"
    LANGUAGE = "language"


Sparsity = Annotated[float, Field(ge=0, lt=1, description="share of weights set to zero")]
Target: TypeAlias = Sparsity | dict[Modality, Sparsity]


def targets_of(sparsity: Target) -> list[float]:
    """The sparsities asked for, whatever they are for."""
    return list(sparsity.values()) if isinstance(sparsity, dict) else [sparsity]
