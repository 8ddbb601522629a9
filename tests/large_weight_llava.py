"""A LLaVA of six random layers whose weights are large: what is pruned shows in its answers."""

from pathlib import Path

import torch
import transformers as tf

from tests import tiny_vision_language_models as vl

LAYERS = 6
SIDE = 32  # pixels: 16 image tokens


def loud_llava(directory: Path) -> None:
    """Write model and processor."""
    vl.llava(directory)
    config = tf.AutoConfig.from_pretrained(directory)
    config.text_config.num_hidden_layers = LAYERS
    config.vision_config.image_size = SIDE
    torch.manual_seed(0)
    model = tf.LlavaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = None, 0
    settings.suppress_tokens = [config.image_token_id]
    model.save_pretrained(directory)
    file = directory / "processor_config.json"
    text = file.read_text().replace('"height": 16', f'"height": {SIDE}')
    file.write_text(text.replace('"width": 16', f'"width": {SIDE}'))
