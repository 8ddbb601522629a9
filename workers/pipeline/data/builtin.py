"""Built-in sets: text files written for this project, and drawn images.

Each has a calibration and an evaluation part, which share no record whatever the seeds.
"""

import colorsys
import random
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from itertools import chain
from zlib import crc32

from PIL import Image, ImageDraw

from app.recipes.data import Builtin
from workers.pipeline.data.record import Record
from workers.scenes.questions import KINDS
from workers.scenes.samples import samples
from workers.scenes.splits import Split

SIDE = 224
COLOURS = ("red", "orange", "yellow", "green", "blue", "violet")
_HELD_OUT = 4  # every fourth caption of `shapes` is for evaluation


class Purpose(StrEnum):
    """What the records are for."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


def builtin_records(name: Builtin, part: Purpose, seed: int) -> Iterator[Record]:
    """The part's records; `sentences` ends, the drawn ones go on for ever.

    Args:
        name: which set.
        part: what for.
        seed: decides the order of `sentences`, and what is drawn.
    """
    return _MAKERS[name](part, seed)


def _sentences(part: Purpose, seed: int) -> Iterator[Record]:
    file = {Purpose.CALIBRATION: "sentences.txt", Purpose.EVALUATION: "held_out.txt"}[part]
    text = files("workers.pipeline").joinpath("data", file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    random.Random(seed).shuffle(lines)  # noqa: S311 - a reproducible order, no secret
    for line in lines:
        yield Record(text=line)


def _scenes(part: Purpose, seed: int) -> Iterator[Record]:
    """One question of each kind in turn, each about a scene of its own."""
    kinds = [samples(_SPLITS[part], seed=seed, kind=kind) for kind in KINDS]
    for sample in chain.from_iterable(zip(*kinds, strict=True)):
        yield Record(prompt=sample.question, answer=sample.answer, image=sample.image)


def _scene_captions(part: Purpose, seed: int) -> Iterator[Record]:
    for sample in samples(_SPLITS[part], seed=seed, kind="caption"):
        yield Record(text=sample.answer, image=sample.image)


def _scene_images(part: Purpose, seed: int) -> Iterator[Record]:
    for sample in samples(_SPLITS[part], seed=seed, kind="caption"):
        yield Record(image=sample.image)


def _shapes(part: Purpose, seed: int) -> Iterator[Record]:
    draw = random.Random(seed)  # noqa: S311 - reproducible drawings, no secret
    while True:
        image = Image.new("RGB", (SIDE, SIDE), "white")
        named = [_shape(ImageDraw.Draw(image), draw, left) for left in (8, SIDE // 2 + 8)]
        text = f"a {named[0]} left of a {named[1]}"
        held_out = crc32(text.encode()) % _HELD_OUT == 0
        if held_out == (part is Purpose.EVALUATION):
            yield Record(text=text, image=image)


def _shape(canvas: ImageDraw.ImageDraw, draw: random.Random, left: int) -> str:
    colour, form = draw.choice(COLOURS), draw.choice(("circle", "square", "triangle"))
    side, top = draw.randint(40, 90), draw.randint(8, SIDE - 100)
    hue = COLOURS.index(colour) / len(COLOURS) + draw.uniform(-0.04, 0.04)
    fill = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, 0.9, 0.9))
    box = (left, top, left + side, top + side)
    if form == "circle":
        canvas.ellipse(box, fill)
    elif form == "square":
        canvas.rectangle(box, fill)
    else:
        canvas.polygon([(box[0], box[3]), (box[2], box[3]), (left + side / 2, top)], fill)
    return f"{colour} {form}"


_SPLITS = {Purpose.CALIBRATION: Split.CALIBRATION, Purpose.EVALUATION: Split.TEST}
_MAKERS = {
    Builtin.SENTENCES: _sentences,
    Builtin.SHAPES: _shapes,
    Builtin.SCENES: _scenes,
    Builtin.SCENE_CAPTIONS: _scene_captions,
    Builtin.SCENE_IMAGES: _scene_images,
}
