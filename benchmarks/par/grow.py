"""Grow `scenes-llava` to eight decoder layers: `make train-scenes-llava-8`.

Four layers leave PAR at most one layer that may be skipped, so nothing to choose. Every layer is
replaced by two copies that each add half of what it added, and the model is trained on for a short
lesson.
"""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from benchmarks.models.train_llava import QUESTIONS, learn

SOURCE = Path(__file__).parents[1] / "models" / "scenes-llava"
# None of these batches was in the base model's own lessons.
LESSON = replace(QUESTIONS[0], steps=range(1_000_000, 1_001_200), peak=1e-3)


def expanded(model: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    """Double the decoder's layers in place, each adding half of what it did."""
    language = model.model.language_model
    layers = torch.nn.ModuleList()
    for layer in language.layers:
        for module in (layer.self_attn.o_proj, layer.mlp.down_proj):
            module.weight.data.div_(2)
        layers.extend([layer, copy.deepcopy(layer)])
    for index, layer in enumerate(layers):
        layer.self_attn.layer_idx = index
    language.layers = layers
    model.config.text_config.num_hidden_layers = len(layers)
    return model


def main(target: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(SOURCE)
    model = expanded(AutoModelForImageTextToText.from_pretrained(SOURCE))
    learn(model, processor, LESSON)
    model.eval().save_pretrained(target)
    processor.save_pretrained(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
