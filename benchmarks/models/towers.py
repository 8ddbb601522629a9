"""What both models are built from: the image processor, the vision tower, the text tower's size."""

from torch import nn
from transformers import CLIPVisionConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from workers.scenes.drawing import IMAGE_SIZE

WIDTH, HEADS = 96, 4
# The background is dark: this mean brings it near zero, so that patches differ by what they show.
_MEAN = _STD = 0.25


def build_image_processor() -> CLIPImageProcessorPil:
    """Resize to `IMAGE_SIZE`, crop the centre, normalise."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[_MEAN] * 3,
        image_std=[_STD] * 3,
    )


def vision_config(patch: int) -> CLIPVisionConfig:
    """Three layers of `WIDTH` units over patches of `patch` pixels a side and a class token."""
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        image_size=IMAGE_SIZE,
        patch_size=patch,
        projection_dim=64,
        initializer_range=0.04,
    )


def spread_positions(embedding: nn.Embedding) -> None:
    """Start positions as strong as patches; at the default 0.02 they are learned very late."""
    nn.init.normal_(embedding.weight, std=0.3)
