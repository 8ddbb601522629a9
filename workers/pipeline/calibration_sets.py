"""Built-in calibration sets: a text file written for this project, and drawn images."""

import colorsys
import random
from collections.abc import Iterator
from importlib.resources import files
from itertools import cycle, islice

from PIL import Image, ImageDraw

from app.domain.submission import CalibrationSpec
from workers.pruning.models.records import CalibrationRecord

SIDE = 224
COLOURS = ("red", "orange", "yellow", "green", "blue", "violet")


def load(spec: CalibrationSpec, seed: int) -> list[CalibrationRecord]:
    """The first `spec.samples` rows; a set that is shorter starts over.

    Args:
        spec: which set and how many rows.
        seed: decides order (`sentences`) or drawing (`shapes`).
    """
    rows = {"sentences": _sentences, "shapes": _shapes}[spec.set](seed)
    return list(islice(rows, spec.samples))


def _sentences(seed: int) -> Iterator[CalibrationRecord]:
    text = files("workers.pipeline").joinpath("data/sentences.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    random.Random(seed).shuffle(lines)  # noqa: S311 - a reproducible order, no secret
    return cycle(CalibrationRecord(text=line) for line in lines)


def _shapes(seed: int) -> Iterator[CalibrationRecord]:
    draw = random.Random(seed)  # noqa: S311 - reproducible drawings, no secret
    while True:
        image = Image.new("RGB", (SIDE, SIDE), "white")
        named = [_shape(ImageDraw.Draw(image), draw, left) for left in (8, SIDE // 2 + 8)]
        yield CalibrationRecord(text=f"a {named[0]} left of a {named[1]}", image=image)


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
