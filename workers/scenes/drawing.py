"""A scene as a picture: jittered, of varying size and brightness, on a noisy background."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.scenes import digits
from workers.scenes.scene import SIDE, Scene, Thing

CELL = 16  # pixels a side
IMAGE_SIZE = CELL * SIDE
_RGB = {
    "red": (230, 50, 50),
    "green": (60, 200, 80),
    "blue": (70, 110, 250),
    "yellow": (240, 220, 60),
    "purple": (175, 75, 210),
    "white": (235, 235, 235),
}
_FINE = 4  # shapes are drawn this many times larger, then scaled down: smooth edges
_NOISE = 8.0
_WARP = 0.08  # standard deviation of each entry of the map's matrix


def draw(scene: Scene, rng: np.random.Generator, *, warp: bool = False) -> Image.Image:
    """Draw a scene as an RGB picture of `IMAGE_SIZE` pixels a side.

    With `warp` digits are turned, sheared and stretched a little at random: for training, where
    a few drawings have to stand for all handwriting.
    """
    dark = rng.uniform(15, 65) + rng.uniform(-12, 12, 3)
    pixels = np.broadcast_to(dark, (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    for thing in scene.things:
        mask, left, top = _place(thing, rng, warp=warp)
        colour = np.array(_RGB[thing.colour]) * rng.uniform(0.75, 1) + rng.uniform(-12, 12, 3)
        region = pixels[top : top + mask.shape[0], left : left + mask.shape[1]]
        region += mask[..., None] * (colour - region)
    pixels += rng.normal(0, _NOISE, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _place(
    thing: Thing, rng: np.random.Generator, *, warp: bool
) -> tuple[NDArray[np.float32], int, int]:
    """Return how much of each pixel a thing covers, and its left and top edge in the picture."""
    if thing.instance is None:
        size = int(rng.integers(9, 15))
        mask = _shape(thing.kind, size)
    else:
        size = int(rng.integers(15, 17))
        mask = _warped(thing.instance, size, rng) if warp else _digit(thing.instance, size)
    left, top = rng.integers(0, CELL - size + 1, 2)
    return mask, int(thing.column * CELL + left), int(thing.row * CELL + top)


@cache
def _shape(kind: str, size: int) -> NDArray[np.float32]:
    full = size * _FINE
    image = Image.new("L", (full, full))
    canvas = ImageDraw.Draw(image)
    end, third = full - 1, full / 3
    if kind == "circle":
        canvas.ellipse((0, 0, end, end), fill=255)
    elif kind == "square":
        canvas.rectangle((0, 0, end, end), fill=255)
    elif kind == "triangle":
        canvas.polygon(((end / 2, 0), (end, end), (0, end)), fill=255)
    else:
        canvas.rectangle((third, 0, 2 * third, end), fill=255)
        canvas.rectangle((0, third, end, 2 * third), fill=255)
    return _scaled(image, size)


@cache
def _digit(instance: int, size: int) -> NDArray[np.float32]:
    return _scaled(_ink(instance), size)


def _warped(instance: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A digit under a random affine map near the identity, about its centre."""
    ink = _ink(instance)
    # From pixels of the result to pixels of the drawing, as PIL wants it.
    matrix = (np.eye(2) + rng.normal(0, _WARP, (2, 2))) * (ink.width / size)
    shift = ink.width / 2 - matrix @ (size / 2, size / 2) + rng.normal(0, _WARP, 2) * 2
    (a, b), (d, e) = matrix.tolist()
    c, f = shift.tolist()
    drawn = ink.transform(
        (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    )
    return np.asarray(drawn, dtype=np.float32) / np.float32(255)


@cache
def _ink(instance: int) -> Image.Image:
    return Image.fromarray((digits.ink(instance) * 255).astype(np.uint8))


def _scaled(image: Image.Image, size: int) -> NDArray[np.float32]:
    small = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32) / np.float32(255)
