"""Any other transformers model: towers guessed from module paths, with a warning."""

import re
from collections.abc import Sequence

from torch import nn

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec
from workers.pruning.models.layout.discovery import find_stacks

_ORDER = tuple(Modality)  # vision, bridge, text, fusion, language: each may feed the later ones
_WORDS = (
    (Modality.BRIDGE, r"q_?former|connector|projector|resampler|perceiver|merger|abstractor"),
    (Modality.FUSION, r"cross_modal|multimodal_encoder|multimodal_decoder|fusion"),
    (Modality.VISION, r"vision|visual|image|pixel|vit\b|patch"),
)


_PROJECTOR = re.compile(r"(^|\.)\w*(projector|connector|merger)$")


class GenericAdapter(Adapter):
    """Walks the modules: every stack of blocks is a tower, its modality told by its path."""

    def declare(self) -> Sequence[TowerSpec]:
        """One part per stack found; nothing is assumed about what reads its outputs."""
        self._notes.append(
            f"{type(self.model).__name__} has no adapter of its own: towers and modalities were "
            "guessed from module names. Check the plan."
        )
        stacks = [stack.name for stack in find_stacks(self.model)]
        projectors = [
            name
            for name, module in self.model.named_modules()
            if _PROJECTOR.search(name)
            and not isinstance(module, nn.ModuleList)
            and not any(name.startswith(f"{stack}.") for stack in stacks)
        ]
        parts = [(name, self._modality(name)) for name in stacks]
        parts += [(name, Modality.BRIDGE) for name in projectors]
        parts.sort(key=lambda part: _ORDER.index(part[1]))
        return [
            TowerSpec(
                name,
                modality,
                mask=self._mask(name, modality),
                source_mask="attention_mask" if self._is_decoder(name) else None,
                feeds=(),
                passes=None,
                guessed=True,
            )
            for name, modality in parts
        ]

    def _modality(self, path: str) -> Modality:
        for modality, words in _WORDS:
            if re.search(words, path):
                return modality
        written = "decoder" in path and self.model.can_generate()
        if "pixel_values" in self.accepted and "input_ids" not in self.accepted and not written:
            return Modality.VISION
        return Modality.LANGUAGE if self.model.can_generate() else Modality.TEXT

    def _mask(self, path: str, modality: Modality) -> str | None:
        if modality is Modality.VISION:
            return "pixel_attention_mask"
        if modality is Modality.BRIDGE:
            return None
        return "decoder_attention_mask" if self._is_decoder(path) else "attention_mask"

    def _is_decoder(self, path: str) -> bool:
        return bool(self.loaded.config.is_encoder_decoder) and "decoder" in path
