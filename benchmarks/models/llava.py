"""`scenes-llava` before training: a processor and a LlavaForConditionalGeneration."""

from torch import nn
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from benchmarks.models import towers
from benchmarks.models.tokenizer import build_tokenizer
from workers.scenes.drawing import IMAGE_SIZE

PATCH = 8  # pixels a side
PATCHES = (IMAGE_SIZE // PATCH) ** 2
# One turn: the pictures, then the words.
CHAT_TEMPLATE = (
    "{% for part in messages[-1]['content'] if part['type'] == 'image' %}<image> {% endfor %}"
    "{% for part in messages[-1]['content'] if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endfor %}"
)


def build_processor() -> LlavaProcessor:
    """Build the processor; prompts are `<image>` followed by the question."""
    return LlavaProcessor(
        towers.build_image_processor(),
        build_tokenizer(end=False),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Build the untrained model; the vision features are those of the last layer, all trained."""
    tokenizer = processor.tokenizer
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=towers.WIDTH,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=towers.HEADS,
        num_key_value_heads=towers.HEADS,
        max_position_embeddings=tokenizer.model_max_length,
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=towers.vision_config(PATCH),
            text_config=language,
            image_token_index=processor.image_token_id,
            image_seq_length=PATCHES,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )
    )
    towers.spread_positions(model.model.vision_tower.embeddings.position_embedding)
    projector = model.model.multi_modal_projector
    for linear in (projector.linear_1, projector.linear_2):
        nn.init.normal_(linear.weight, std=0.1)
    return model
