"""`scenes-llava` with 144 image tokens instead of 36.

Patches of 4 pixels a side take the place of those of 8: a patch sees a quarter of what it saw, its
kernel is the old one shrunk, positions lie between the old ones. Then the model is trained on, in
short lessons; one that is finished is not done again.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from benchmarks.models.train_llava import QUESTIONS, learn
from workers.scenes.drawing import IMAGE_SIZE

SOURCE = Path(__file__).parents[1] / "models" / "scenes-llava"
PATCH = 4  # pixels a side
SIDE = IMAGE_SIZE // PATCH
LENGTH = 512  # tokens of a text with its picture
# None of these batches was in the base model's own lessons.
LESSONS = [
    replace(QUESTIONS[0], steps=range(first, first + 300), peak=peak)
    for first, peak in (
        *((2_000_000, 1e-3), (2_000_300, 1e-3), (2_000_600, 7e-4), (2_000_900, 5e-4)),
        *((2_001_200, 7e-4), (2_001_500, 7e-4), (2_001_800, 5e-4), (2_002_100, 3e-4)),
    )
]


def grown(place: Path) -> Path:
    """The directory of the trained model, below `place`; trained where it is not there."""
    torch.manual_seed(0)
    ready = place / "untrained"
    if not ready.exists():
        processor = AutoProcessor.from_pretrained(SOURCE)
        model = AutoModelForImageTextToText.from_pretrained(SOURCE)
        _shrink_patches(model, processor)
        _save(model, processor, ready)
    for number, lesson in enumerate(LESSONS):
        after = place / f"lesson-{number}"
        if not after.exists():
            processor = AutoProcessor.from_pretrained(ready)
            model = AutoModelForImageTextToText.from_pretrained(ready)
            print(f"lesson {number + 1} of {len(LESSONS)}", flush=True)
            learn(model, processor, lesson)
            _save(model.eval(), processor, after)
        ready = after
    return ready


def _save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, place: Path) -> None:
    """All of it, or nothing."""
    begun = place.with_name(f"{place.name}.begun")
    model.save_pretrained(begun)
    processor.save_pretrained(begun)
    begun.rename(place)


@torch.no_grad()
def _shrink_patches(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    processor.patch_size = PATCH
    processor.tokenizer.model_max_length = LENGTH
    model.config.image_seq_length = SIDE**2
    model.config.text_config.max_position_embeddings = LENGTH
    vision = model.config.vision_config
    before, vision.patch_size = vision.patch_size, PATCH
    seen = model.model.vision_tower.embeddings
    kernel = seen.patch_embedding.weight
    times = (before // PATCH) ** 2  # a patch of one colour gives what it gave
    smaller = functional.interpolate(kernel, size=(PATCH, PATCH), mode="area") * times
    seen.patch_embedding = nn.Conv2d(3, kernel.shape[0], PATCH, stride=PATCH, bias=False)
    seen.patch_embedding.weight.copy_(smaller)
    whole, positions = seen.position_embedding.weight[:1], seen.position_embedding.weight[1:]
    side = IMAGE_SIZE // before
    grid = positions.T.reshape(1, -1, side, side)
    finer = functional.interpolate(grid, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    table = torch.cat([whole, finer.flatten(2)[0].T])
    seen.position_embedding = nn.Embedding.from_pretrained(table, freeze=False)
    seen.patch_size, seen.num_patches, seen.num_positions = PATCH, SIDE**2, SIDE**2 + 1
    seen.position_ids = torch.arange(SIDE**2 + 1)[None]
