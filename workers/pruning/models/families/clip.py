"""CLIP and SigLIP: an image tower and a text tower trained to agree."""

from typing import Any

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec
from workers.pruning.models.inputs import inputs
from workers.pruning.models.inputs.inputs import CalibrationRecord


class ClipAdapter(Adapter):
    """Dual encoder; its projections into the common space count as bridge."""

    architectures = ("CLIPModel",)
    tower_specs = (
        TowerSpec("vision_model.encoder.layers", Modality.VISION),
        TowerSpec("text_model.encoder.layers", Modality.TEXT, mask="attention_mask"),
        TowerSpec("visual_projection", Modality.BRIDGE),
        TowerSpec("text_projection", Modality.BRIDGE),
    )


class SiglipAdapter(Adapter):
    """As CLIP, with a packed attention that pools the patches.

    SigLIP was trained on texts padded to full length without a mask, so every position is real.
    """

    architectures = ("SiglipModel",)
    tower_specs = (
        TowerSpec("vision_model.encoder.layers", Modality.VISION),
        TowerSpec("vision_model.head", Modality.VISION),
        TowerSpec("text_model.encoder.layers", Modality.TEXT),
    )

    def encode(self, record: CalibrationRecord, max_length: int) -> inputs.Sample:
        """Text padded to the length the model was trained on."""
        text, image = inputs.text_of(record), inputs.image_of(record)
        options = {"padding": "max_length", "truncation": True, "max_length": max_length}
        options["padding_side"] = "right"  # whatever the tokenizer was saved with
        processor: Any = self.image_text_processor
        sample = dict(processor(text=[text], images=[image], return_tensors="pt", **options))
        sample.pop("attention_mask", None)
        return sample
