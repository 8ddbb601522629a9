"""`scenes-clip` before training: a processor and a CLIPModel."""

from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTextConfig

from benchmarks.models import towers
from benchmarks.models.tokenizer import build_tokenizer

PATCH = 16  # pixels a side: a cell


def build_processor() -> CLIPProcessor:
    """Build the processor; captions are plain sentences."""
    return CLIPProcessor(towers.build_image_processor(), build_tokenizer(end=True))


def build_model(processor: CLIPProcessor) -> CLIPModel:
    """Build the untrained model: two towers of three layers."""
    tokenizer = processor.tokenizer
    vision = towers.vision_config(PATCH)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=towers.WIDTH,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=towers.HEADS,
        max_position_embeddings=32,
        projection_dim=vision.projection_dim,
        initializer_factor=4.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPModel(
        CLIPConfig(vision_config=vision, text_config=text, projection_dim=vision.projection_dim)
    )
    towers.spread_positions(model.vision_model.embeddings.position_embedding)
    towers.spread_positions(model.text_model.embeddings.position_embedding)
    return model
