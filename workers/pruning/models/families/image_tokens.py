"""Images become tokens among those of the text: vision tower, projector, decoder, a row a class.

Prompts are the processor's own, as for the generic adapter.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from app.recipes.modality import Modality
from workers.pruning.models.adapter import TowerSpec
from workers.pruning.models.families.llava import feature_blocks
from workers.pruning.models.generic import GenericAdapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Tower

_vision = partial(TowerSpec, modality=Modality.VISION)
_audio = partial(TowerSpec, modality=Modality.AUDIO)
_bridge = partial(TowerSpec, modality=Modality.BRIDGE)
_decoder = partial(TowerSpec, modality=Modality.LANGUAGE, mask="attention_mask")

_PROJECTOR = _bridge("model.multi_modal_projector")
_LANGUAGE = _decoder("model.language_model.layers")
_PLACES = "image_position_ids"  # (images, patches, 2); -1 where there is none

# One after the other along the first dimension, so without padding.
_PACKED = (_vision("model.visual.blocks"), _bridge("model.visual.merger"), _LANGUAGE)
# Each merger reads another block of the vision tower, and none reads the one before it.
_DEEPSTACK = (_PACKED[0], _bridge("model.visual.deepstack_merger_list", feeds=()), *_PACKED[1:])
_SOUNDS = (_bridge("model.embed_vision"), _bridge("model.embed_audio"), _LANGUAGE)

_PARTS: dict[str, tuple[TowerSpec, ...]] = {
    "Qwen3VLForConditionalGeneration": _DEEPSTACK,
    "Qwen3VLMoeForConditionalGeneration": _DEEPSTACK,
    "Qwen3_5ForConditionalGeneration": _PACKED,
    "Qwen3_5MoeForConditionalGeneration": _PACKED,
    "Glm4vForConditionalGeneration": _PACKED,
    "Glm4vMoeForConditionalGeneration": _PACKED,
    "Glm46VForConditionalGeneration": _PACKED,
    "Gemma3ForConditionalGeneration": (
        _vision("model.vision_tower.encoder.layers"),
        _PROJECTOR,
        _LANGUAGE,
    ),
    "Gemma3nForConditionalGeneration": (  # what sees is a network of convolutions
        _audio("model.audio_tower.conformer"),
        _bridge("model.embed_vision", passes=2),  # marks of the text first, then features
        *_SOUNDS[1:],
    ),
    "Gemma4ForConditionalGeneration": (
        _vision("model.vision_tower.encoder.layers", mask=_PLACES),
        _audio("model.audio_tower.layers"),
        *_SOUNDS,
    ),
    "InternVLForConditionalGeneration": (
        _vision("model.vision_tower.encoder.layer"),
        _PROJECTOR,
        _LANGUAGE,
    ),
    "Mistral3ForConditionalGeneration": (
        _vision("model.vision_tower.transformer.layers"),
        _PROJECTOR,
        _LANGUAGE,
    ),
    "LlavaOnevisionForConditionalGeneration": (
        _vision("model.vision_tower.encoder.layers"),
        _PROJECTOR,
        _LANGUAGE,
    ),
    "Florence2ForConditionalGeneration": (
        _vision("model.vision_tower.blocks"),
        _PROJECTOR,
        _decoder("model.language_model.encoder.layers"),
        _decoder(
            "model.language_model.decoder.layers",
            mask="decoder_attention_mask",
            source_mask="attention_mask",
        ),
    ),
    "Llama4ForConditionalGeneration": (
        _vision("vision_model.model.layers"),
        _bridge("vision_model.vision_adapter"),
        _bridge("multi_modal_projector"),
        _decoder("language_model.model.layers"),
    ),
    "Kimi_K25ForConditionalGeneration": (
        _vision("model.vision_tower.layers"),
        _bridge("model.mm_projector"),
        _LANGUAGE,
    ),
    "Molmo2ForConditionalGeneration": (
        _vision("model.vision_tower.layers"),
        _PROJECTOR,
        _LANGUAGE,
    ),
    "Lfm2VlForConditionalGeneration": (
        _vision("model.vision_tower.encoder.layers", mask="pixel_attention_mask"),
        replace(_PROJECTOR, passes=None),  # one for each image
        _LANGUAGE,
    ),
}


def _states(config: Any) -> Iterable[int]:
    return feature_blocks(config.vision_feature_layer)


# Blocks of the vision tower that are read from outside of it, beside the last one.
_READ: dict[str, Callable[[Any], Iterable[int]]] = {
    "Qwen3VLForConditionalGeneration": lambda c: c.vision_config.deepstack_visual_indexes,
    "Qwen3VLMoeForConditionalGeneration": lambda c: c.vision_config.deepstack_visual_indexes,
    "InternVLForConditionalGeneration": _states,
    "Mistral3ForConditionalGeneration": _states,
    "LlavaOnevisionForConditionalGeneration": _states,
    "Molmo2ForConditionalGeneration": lambda c: c.adapter_config.vision_feature_layer,
}


class ImageTokensAdapter(GenericAdapter):
    """What the generic adapter would have to find is told: see the rows above."""

    architectures = tuple(_PARTS)

    def declare(self) -> Sequence[TowerSpec]:
        """The row of the class; the vision tower is read where the configuration says."""
        name = type(self.model).__name__
        vision, *others = _PARTS[name]
        if (read := _READ.get(name)) is not None:
            vision = replace(vision, feeds=(-1, *read(self.loaded.config)))
        return [vision, *others]

    def token_mask(
        self, tower: Tower, batch: Batch, seen: Tensor, *, source: bool
    ) -> Tensor | None:
        """As usual; patches of Gemma 4 that stand nowhere in the image are padding."""
        if tower.mask == _PLACES and _PLACES in batch:
            batch = {**batch, _PLACES: (batch[_PLACES] >= 0).all(-1)}
        return super().token_mask(tower, batch, seen, source=source)
