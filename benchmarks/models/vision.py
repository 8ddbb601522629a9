"""The vision tower's first lesson: say what stands in the cell that each patch is part of.

A linear head names colour, kind and cell and is thrown away. Without this lesson the language
model and the tower wait for each other: captions come out with the right colours and places
within 300 steps, and with no idea of the shapes and digits after 700.
"""

import torch
from torch import Tensor, nn
from transformers import BaseImageProcessor

from benchmarks.models.schedule import optimise
from benchmarks.models.towers import PATCH, WIDTH
from workers.scenes.drawing import CELL, IMAGE_SIZE, draw
from workers.scenes.scene import COLOURS, DIGITS, SHAPES, SIDE, Scene, sample_scene
from workers.scenes.splits import Split

STEPS, BATCH, PEAK = 1500, 32, 2e-3
_KINDS = (*SHAPES, *DIGITS)
_CLASSES = (len(COLOURS) + 1, len(_KINDS) + 1, SIDE * SIDE)
_STARTS = range(0, IMAGE_SIZE, PATCH)
_CELLS = [top // CELL * SIDE + left // CELL for top in _STARTS for left in _STARTS]  # by patch


def teach_vision(tower: nn.Module, image_processor: BaseImageProcessor) -> None:
    """Train a CLIP vision tower in place; each patch lies within one cell."""
    head = nn.Linear(WIDTH, sum(_CLASSES))

    def losses(step: int) -> Tensor:
        images, labels = [], []
        for index in range(BATCH):
            rng = Split.TRAIN.rng(2, step, index)
            scene = sample_scene(Split.TRAIN, rng)
            images.append(draw(scene, rng))
            labels += [_label(scene, cell) for cell in _CELLS]
        pixels = image_processor(images, return_tensors="pt").pixel_values
        features = tower(pixels).last_hidden_state[:, 1:].flatten(0, 1)
        wanted = torch.tensor(labels).unbind(dim=1)
        logits = head(features).split(_CLASSES, dim=1)
        return torch.stack(
            [nn.functional.cross_entropy(*each) for each in zip(logits, wanted, strict=True)]
        ).sum()

    optimise(nn.ModuleList([tower, head]), losses, steps=range(STEPS), peak=PEAK)


def _label(scene: Scene, cell: int) -> tuple[int, int, int]:
    thing = scene.at(cell)
    if thing is None:
        return len(COLOURS), len(_KINDS), cell
    return COLOURS.index(thing.colour), _KINDS.index(thing.kind), cell
