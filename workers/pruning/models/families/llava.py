"""LLaVA, LLaVA-NeXT, PaliGemma, Idefics3 and SmolVLM: vision tower, projector, decoder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec
from workers.pruning.models.inputs import inputs
from workers.pruning.models.inputs.inputs import CalibrationRecord

_VISION = TowerSpec("model.vision_tower*encoder.layers", Modality.VISION)
_LANGUAGE = TowerSpec("model.language_model.layers", Modality.LANGUAGE, mask="attention_mask")


def feature_blocks(states: int | Sequence[int]) -> list[int]:
    """Blocks whose outputs the hidden states of those numbers are; negative from the end.

    Hidden state 0 is the embedding, so state k is the output of block k - 1.
    """
    numbers = {states} if isinstance(states, int) else set(states)
    return sorted(number - 1 if number > 0 else number for number in numbers - {0})


class LlavaAdapter(Adapter):
    """Image features come from the layers `vision_feature_layer` names, often not the last."""

    architectures = ("LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration")
    tower_specs = (_VISION, TowerSpec("model.multi_modal_projector", Modality.BRIDGE), _LANGUAGE)

    def declare(self) -> Sequence[TowerSpec]:
        """The vision tower feeds the projector from the configured layers alone."""
        vision, *others = self.tower_specs
        blocks = feature_blocks(self.loaded.config.vision_feature_layer)
        return [replace(vision, feeds=tuple(blocks)), *others]


class PaliGemmaAdapter(Adapter):
    """Prefix language model: the image is the prefix, the text is written."""

    architectures = ("PaliGemmaForConditionalGeneration",)
    tower_specs = (_VISION, TowerSpec("model.multi_modal_projector", Modality.BRIDGE), _LANGUAGE)

    def encode(self, record: CalibrationRecord, max_length: int) -> inputs.Sample:
        """The processor makes labels and segment ids from prefix and suffix."""
        text, image = inputs.text_of(record), inputs.image_of(record)
        return self.encode_pair(text, image, max_length, self._suffix)

    def _suffix(self, text: str) -> dict[str, Any]:
        return {"text": [self.prompt("")], "suffix": [text]}


class Idefics3Adapter(Adapter):
    """Images are cut into tiles; padding tiles are dropped by the model itself."""

    architectures = ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration")
    tower_specs = (
        TowerSpec("model.vision_model.encoder.layers", Modality.VISION),
        TowerSpec("model.connector", Modality.BRIDGE),
        TowerSpec("model.text_model.layers", Modality.LANGUAGE, mask="attention_mask"),
    )
