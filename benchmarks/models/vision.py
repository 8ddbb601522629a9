"""The vision tower's first lesson: say what stands in the cell that each patch is part of.

A linear head names colour, kind and cell and is thrown away. Without this lesson the language
model and the tower wait for each other: captions come out with the right colours and places
within 300 steps, and with no idea of the shapes and digits after 700.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BaseImageProcessor, CLIPVisionModel

from benchmarks.models.schedule import Curve, optimise
from benchmarks.models.towers import WIDTH
from workers.scenes.drawing import CELL, IMAGE_SIZE, draw
from workers.scenes.scene import COLOURS, DIGITS, SHAPES, SIDE, Scene, sample_scene
from workers.scenes.splits import Split

BATCH, PEAK = 32, 2e-3
_KINDS = (*SHAPES, *DIGITS)
_CLASSES = (len(COLOURS) + 1, len(_KINDS) + 1, SIDE * SIDE)


@dataclass(frozen=True)
class VisionLesson:
    """How the tower is taught.

    Attributes:
        steps: batches.
        fewest: things in a picture, at least; it learns from each.
        most: likewise.
        warp: bend digits at random.
        curve: of the learning rate.
    """

    steps: int
    fewest: int
    most: int
    warp: bool
    curve: Curve


def teach_vision(
    tower: CLIPVisionModel, image_processor: BaseImageProcessor, lesson: VisionLesson
) -> None:
    """Train a CLIP vision tower in place; each patch lies within one cell."""
    head = nn.Linear(WIDTH, sum(_CLASSES))
    starts = range(0, IMAGE_SIZE, tower.config.patch_size)
    cells = [top // CELL * SIDE + left // CELL for top in starts for left in starts]

    def losses(step: int) -> Tensor:
        images, labels = [], []
        for index in range(BATCH):
            rng = Split.TRAIN.rng(2, step, index)
            scene = sample_scene(Split.TRAIN, rng, fewest=lesson.fewest, most=lesson.most)
            images.append(draw(scene, rng, warp=lesson.warp))
            labels += [_label(scene, cell) for cell in cells]
        pixels = image_processor(images, return_tensors="pt").pixel_values
        features = tower(pixels).last_hidden_state[:, 1:].flatten(0, 1)
        wanted = torch.tensor(labels).unbind(dim=1)
        logits = head(features).split(_CLASSES, dim=1)
        return torch.stack(
            [nn.functional.cross_entropy(*each) for each in zip(logits, wanted, strict=True)]
        ).sum()

    steps, rates = range(lesson.steps), {tower: PEAK, head: PEAK}
    optimise(rates, losses, steps=steps, curve=lesson.curve)


def _label(scene: Scene, cell: int) -> tuple[int, int, int]:
    thing = scene.at(cell)
    if thing is None:
        return len(COLOURS), len(_KINDS), cell
    return COLOURS.index(thing.colour), _KINDS.index(thing.kind), cell
