"""ViT: images alone."""

from app.recipes.recipe import Modality
from workers.pruning.models.adapter import Adapter, Part


class ViTAdapter(Adapter):
    """Vision transformer, bare or with a classifier."""

    architectures = ("ViTModel", "ViTForImageClassification")
    parts = (Part("*layers", Modality.VISION),)
