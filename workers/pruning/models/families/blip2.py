"""BLIP-2: a Q-Former between a vision tower and an OPT, T5 or Llama."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec

_PARTS = (
    TowerSpec("vision_model.encoder.layers", Modality.VISION),
    TowerSpec("qformer.encoder.layer", Modality.BRIDGE),
    TowerSpec("language_projection", Modality.BRIDGE),
    TowerSpec("language_model.model.decoder.layers", Modality.LANGUAGE, mask="attention_mask"),
    TowerSpec("language_model.model.layers", Modality.LANGUAGE, mask="attention_mask"),
    TowerSpec("language_model.encoder.block", Modality.LANGUAGE, mask="attention_mask"),
    TowerSpec(
        "language_model.decoder.block",
        Modality.LANGUAGE,
        mask="decoder_attention_mask",
        source_mask="attention_mask",
    ),
)


class Blip2Adapter(Adapter):
    """The processor puts the query tokens in front of the text by itself."""

    architectures = ("Blip2ForConditionalGeneration",)
    tower_specs = _PARTS

    def prompt(self, text: str) -> str:
        """The text alone."""
        return text
