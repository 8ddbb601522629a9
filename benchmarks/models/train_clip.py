"""Train `scenes-clip` from scratch: `make train-scenes-clip`.

Pictures and their captions, contrasted within a batch. Some pictures show one thing and are
captioned without its place, so that plain names such as `red circle` mean something too.
"""

import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import BatchEncoding, CLIPModel, CLIPProcessor

from benchmarks.figures import Figure, conclude
from benchmarks.models.clip import build_model, build_processor
from benchmarks.models.report import dense_figures
from benchmarks.models.schedule import constant, late_fall, optimise
from benchmarks.models.vision import VisionLesson, teach_vision
from workers.scenes.drawing import draw
from workers.scenes.evaluate import retrieval, zero_shot
from workers.scenes.scene import MAX_THINGS, sample_scene
from workers.scenes.splits import Split

VISION = VisionLesson(2500, fewest=2, most=MAX_THINGS, warp=True, curve=late_fall)
# Steps at the full rate, and at one that falls to zero.
MATCH, FINISH = range(500), range(500, 800)
BATCH = 128
NAMES = 32  # of a batch: one thing, no place
PEAK = 1e-3


def train() -> tuple[CLIPModel, CLIPProcessor]:
    """Train on the training split with fixed seeds: one machine gives one model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    processor = build_processor()
    model = build_model(processor)
    teach_vision(model.vision_model, processor.image_processor, VISION)

    def losses(step: int) -> Tensor:
        return model(**batch(processor, step), return_loss=True).loss

    optimise({model: PEAK}, losses, steps=MATCH, curve=constant)
    optimise({model: PEAK}, losses, steps=FINISH, curve=late_fall)
    return model.eval(), processor


def batch(processor: CLIPProcessor, step: int) -> BatchEncoding:
    """Draw `BATCH` pictures with captions; an equal step gives an equal batch."""
    images, texts = [], []
    for index in range(BATCH):
        rng = Split.TRAIN.rng(1, step, index)
        named = index < NAMES
        scene = sample_scene(Split.TRAIN, rng, fewest=1, **({"most": 1} if named else {}))
        images.append(draw(scene, rng))
        texts.append(str(scene.things[0]) if named else scene.key)
    return processor(images=images, text=texts, padding=True, return_tensors="pt")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    trained, its_processor = train()
    trained.save_pretrained(target)
    its_processor.save_pretrained(target)
    figures = {"training, CPU minutes": Figure(time.process_time() / 60, most=40)}
    found = retrieval(trained, its_processor) | zero_shot(trained, its_processor)
    sys.exit(conclude(figures | dense_figures("scenes-clip", found)))
