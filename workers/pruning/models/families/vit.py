"""ViT: images alone."""

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter, TowerSpec


class ViTAdapter(Adapter):
    """Vision transformer, bare or with a classifier."""

    architectures = ("ViTModel", "ViTForImageClassification")
    tower_specs = (TowerSpec("*layers", Modality.VISION),)
