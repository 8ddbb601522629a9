"""Qwen2-VL and Qwen2.5-VL: patches of all images in one row, merged four to a token."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec


class QwenVLAdapter(Adapter):
    """The vision tower sees no padding: patches are packed along the first dimension."""

    architectures = ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration")
    tower_specs = (
        TowerSpec("model.visual.blocks", Modality.VISION),
        TowerSpec("model.visual.merger", Modality.BRIDGE),
        TowerSpec("model.language_model.layers", Modality.LANGUAGE, mask="attention_mask"),
    )

    def prompt(self, text: str) -> str:
        """The image between its start and end tokens."""
        return f"<|vision_start|>{self.processor.image_token}<|vision_end|>{text}"
