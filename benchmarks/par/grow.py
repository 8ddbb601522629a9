"""Grow `scenes-llava` to eight decoder layers: `python -m benchmarks.par.grow TARGET`.

Four layers leave PAR at most one layer that may be skipped, so nothing to choose. Every layer is
replaced by two copies that each add half of what it added, and the language model is trained on
with the recipe of its last stage. The vision tower stays as it is.
"""

import copy
import sys
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from benchmarks.models.schedule import optimise
from benchmarks.models.train_llava import TIMES, answer_loss, batch

SOURCE = Path(__file__).parents[1] / "models" / "scenes-llava"
STEPS, FIRST, PEAK, PICTURES = 1200, 1_000_000, 1e-3, 8  # no step of the base's own training


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
    model.model.vision_tower.requires_grad_(requires_grad=False)

    def losses(step: int) -> Tensor:
        return answer_loss(model, batch(processor, FIRST + step, PICTURES, TIMES))

    optimise(model, losses, steps=range(STEPS), peak=PEAK, decay=0.8)
    model.eval().save_pretrained(target)
    processor.save_pretrained(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
