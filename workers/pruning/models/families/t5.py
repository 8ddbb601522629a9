"""T5: encoder and decoder; the position bias of the first block serves all."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec


class T5Adapter(Adapter):
    """Prefix language modelling: the first half of a text is read, the second written."""

    architectures = ("T5ForConditionalGeneration",)
    tower_specs = (
        TowerSpec("encoder.block", Modality.LANGUAGE, mask="attention_mask"),
        TowerSpec(
            "decoder.block",
            Modality.LANGUAGE,
            mask="decoder_attention_mask",
            source_mask="attention_mask",
        ),
    )
