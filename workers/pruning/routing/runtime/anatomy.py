"""A supported model: where its decoder layers are, and which tokens show an image."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workers.pruning.routing.runtime.errors import UnsupportedModelError

TEXT, VISION, PADDING = 0, 1, 2
"""Values of a segment map, an integer tensor (B, S)."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Where a supported model keeps what PAR touches.

    Attributes:
        family: the config's `model_type`.
        model: the model as it was given.
        text: the module that loops over the decoder layers.
        layers: its N decoder layers.
        embedding: token embedding.
        vision_ids: input ids of image (and video) tokens.
        prunes_tokens: whether image tokens may be dropped; if not, only layers are skipped.
        newline: (D,) row separator among image tokens of LLaVA-NeXT and -OneVision; counts as text.
    """

    family: str
    model: Any
    text: Any
    layers: nn.ModuleList
    embedding: nn.Module
    vision_ids: tuple[int, ...]
    prunes_tokens: bool
    newline: Tensor | None

    @property
    def hidden_size(self) -> int:
        """D."""
        return int(self.text.config.hidden_size)

    def segments(self, ids: Tensor, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S) map of TEXT, VISION and PADDING.

        Args:
            ids: (B, S).
            embeddings: (B, S, D), merged.
            mask: (B, S), 0 at padding.
        """
        vision = torch.isin(ids, torch.tensor(self.vision_ids, device=ids.device))
        if self.newline is not None:
            vision &= (embeddings != self.newline.to(embeddings)).any(-1)
        segments = torch.where(vision, VISION, TEXT)
        return segments if mask is None else segments.masked_fill(mask == 0, PADDING)


_TEXT_MODELS = {
    "llava": "model.language_model",
    "llava_next": "model.language_model",
    "llava_onevision": "model.language_model",
    "internvl": "model.language_model",
    "mistral3": "model.language_model",
    "qwen2_vl": "model.language_model",
    "qwen2_5_vl": "model.language_model",
    "idefics3": "model.text_model",
    "smolvlm": "model.text_model",
    "instructblip": "language_model.model",
}

_NEWLINES = {"llava_next", "llava_onevision"}


def anatomy(model: Any) -> Anatomy:
    """Find a model's decoder layers and image tokens.

    Raises:
        UnsupportedModelError: another family, an encoder-decoder, or sliding-window attention.
    """
    config = model.config
    family = getattr(config, "model_type", type(model).__name__)
    if family not in _TEXT_MODELS or not model.can_generate():
        raise UnsupportedModelError(
            f"PAR prunes {', '.join(_TEXT_MODELS)} with a language modelling head; this is a "
            f"{type(model).__name__} ({family})."
        )
    if getattr(config.get_text_config(), "is_encoder_decoder", False):
        raise UnsupportedModelError("PAR needs a decoder; this language model is an encoder too.")
    text = model.get_submodule(_TEXT_MODELS[family])
    text = getattr(text, "decoder", text)  # OPT's layers are one level deeper
    _refuse_windows(text.config)
    ids = (getattr(config, name, None) for name in ("image_token_id", "video_token_id"))
    return Anatomy(
        family=family,
        model=model,
        text=text,
        layers=text.layers,
        embedding=model.get_input_embeddings(),
        vision_ids=tuple(index for index in ids if index is not None),
        prunes_tokens=family != "instructblip",
        newline=getattr(model.model, "image_newline", None) if family in _NEWLINES else None,
    )


def _refuse_windows(config: Any) -> None:
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["sliding" if getattr(config, "sliding_window", None) else "full_attention"]
    if set(kinds) - {"full_attention"}:
        raise UnsupportedModelError(
            "PAR needs full attention in every decoder layer; this model's layers are "
            f"{', '.join(sorted(set(kinds)))}."
        )


def config_hash(config: Any) -> str:
    """SHA-256 over what a router depends on: the sizes of both towers and the image tokens.

    Defaults that a transformers release adds to a config do not change it.
    """
    sizes = "hidden_size num_hidden_layers num_attention_heads num_key_value_heads"
    names = f"model_type vocab_size {sizes} intermediate_size depth embed_dim patch_size".split()
    parts = (config, config.get_text_config(), getattr(config, "vision_config", None))
    facts = [{name: getattr(part, name, None) for name in names} for part in parts]
    facts.append({"image": getattr(config, "image_token_id", None)})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
