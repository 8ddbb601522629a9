"""BERT: the encoder alone and with any of its heads."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec


class BertAdapter(Adapter):
    """Text encoders of BERT's shape; what reads a text without writing one is modality text."""

    architectures = (
        "BertModel",
        "BertForMaskedLM",
        "BertForSequenceClassification",
        "BertForTokenClassification",
    )
    tower_specs = (TowerSpec("*encoder.layer", Modality.TEXT, mask="attention_mask"),)
