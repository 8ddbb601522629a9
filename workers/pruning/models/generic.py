"""Any other transformers model: towers guessed from module paths, with a warning."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from torch import nn
from transformers import PreTrainedModel

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec
from workers.pruning.models.inputs.image_prompts import Form, prompt_form
from workers.pruning.models.layout.discovery import find_stacks

_ORDER = tuple(Modality)  # vision, audio, bridge, text, fusion, language: each may feed later ones

# What components of a path mean, whatever class they lie in.
_JOINING = (
    (
        Modality.BRIDGE,
        re.compile(
            r"q_?former|connector|projector|projection|resampler|perceiver|merger|abstractor"
            r"|adapter|aligner|compressor|downsampler"
        ),
    ),
    (
        Modality.FUSION,
        re.compile(r"cross_modal|multimodal_(en|de)coder|multimodal_model|fusion|x_layers"),
    ),
)
# The same where no class says what it reads.
_SENSES = (
    (Modality.AUDIO, re.compile(r"audio|speech|sound")),
    (
        Modality.VISION,
        re.compile(r"vision|visual|image|pixel|video|patch|(^|_)(vit|mit)($|_)|vqmodel|r_layers"),
    ),
)
_TEXT = re.compile(r"text|language|(^|_)(lm|llm)($|_)")
_IMAGES = {"pixel_values", "pixel_values_videos", "flattened_patches"}
_IMAGES |= {"visual_embeds", "visual_feats"}

# A module outside of the blocks that passes one part's features on to another.
_PROJECTOR = re.compile(
    r"(^|\.)\w*(projector|connector|merger|aligner|resampler|resampler_model|vision_adapter"
    r"|embed_vision|embed_audio|image_to_text_projection|visual_projection|text_projection"
    r"|vision_proj|text_proj|language_projection|multi_modal_projection|abstractor|perceiver)$"
)


def _named(
    patterns: Iterable[tuple[Modality, re.Pattern[str]]], components: Sequence[str]
) -> Iterator[Modality]:
    """What the components of a path say they are."""
    for modality, pattern in patterns:
        if any(map(pattern.search, components)):
            yield modality


class GenericAdapter(Adapter):
    """Walks the modules: every stack of blocks is a tower, its modality told by its path."""

    def declare(self) -> Sequence[TowerSpec]:
        """One part per stack found; nothing is assumed about what reads its outputs."""
        self._notes.append(
            f"{type(self.model).__name__} has no adapter of its own: towers and modalities were "
            "guessed from module names. Check the plan."
        )
        stacks = [stack.name for stack in find_stacks(self.model)]
        parts = [(name, self._modality(name, stacks)) for name in stacks]
        parts += [(name, Modality.BRIDGE) for name in self._projectors(stacks)]
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

    def prompt(self, text: str) -> str:
        """As the processor wants it, found by trying."""
        return self._form(text)

    @cached_property
    def _form(self) -> Form:
        if not self.placeholders:
            return super().prompt
        return prompt_form(self.image_text_processor, self.placeholders)

    def _projectors(self, stacks: Sequence[str]) -> list[str]:
        """Modules that bridge parts; of one that holds a stack, what lies beside the stack."""
        found: list[str] = []

        def beside(name: str, module: nn.Module) -> None:
            if any(name == each or name.startswith(f"{each}.") for each in (*stacks, *found)):
                return
            if isinstance(module, nn.ModuleList) or any(s.startswith(f"{name}.") for s in stacks):
                for child, part in module.named_children():
                    beside(f"{name}.{child}", part)
            else:
                found.append(name)

        for name, module in self.model.named_modules():
            if _PROJECTOR.search(name):
                beside(name, module)
        return found

    def _modality(self, path: str, stacks: Sequence[str]) -> Modality:
        """By what a path says a bridge or a fusion is, by what a class reads, by other names."""
        writes = self.model.can_generate()
        if writes and self._is_decoder(path):
            return Modality.LANGUAGE
        words = Modality.LANGUAGE if writes else Modality.TEXT
        known = (
            *_named(_JOINING, self._components(path)),
            *self._told_by_class(path, words),
            *_named((*_SENSES, (words, _TEXT)), self._components(path)),
        )
        if known:
            return known[0]
        if self.accepted.isdisjoint(_IMAGES):
            return words
        if "input_ids" not in self.accepted and not (writes and "decoder" in path):
            return Modality.VISION
        elsewhere = any(Modality.FUSION in _named(_JOINING, name.split(".")) for name in stacks)
        return words if writes or elsewhere else Modality.FUSION  # one stream of both

    def _components(self, path: str) -> list[str]:
        """Of a path, without the name that the whole model goes by."""
        return [part for part in path.split(".") if part != self.model.base_model_prefix]

    def _told_by_class(self, path: str, words: Modality) -> Iterator[Modality]:
        """What the innermost model class around a module says it reads, unless that is a mixture.

        The class that all models derive from says text; that counts for nothing.
        """
        names = path.split(".")
        parents = (".".join(names[:depth]) for depth in range(len(names), 0, -1))
        modules = map(self.model.get_submodule, parents)
        inner = next((type(each) for each in modules if isinstance(each, PreTrainedModel)), None)
        said = getattr(inner, "input_modalities", None)
        if said is None or said is PreTrainedModel.input_modalities:
            return
        told = {said} if isinstance(said, str) else set(said)
        if told <= {"image", "video"}:
            yield Modality.VISION
        elif len(told) == 1:
            yield {"audio": Modality.AUDIO, "text": words}.get(told.pop(), words)

    def _mask(self, path: str, modality: Modality) -> str | None:
        if modality is Modality.VISION:
            return "pixel_attention_mask"
        if modality in {Modality.BRIDGE, Modality.AUDIO}:
            return None
        return "decoder_attention_mask" if self._is_decoder(path) else "attention_mask"

    def _is_decoder(self, path: str) -> bool:
        return bool(self.loaded.config.is_encoder_decoder) and "decoder" in path
