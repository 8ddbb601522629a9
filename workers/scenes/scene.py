"""What stands where: the content of a picture before it is drawn."""

from dataclasses import dataclass

import numpy as np

from workers.scenes import digits
from workers.scenes.splits import Split, bucket

SIDE = 3  # cells a side
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross")
DIGITS = tuple("0123456789")
# One word each, so that an answer names its place at once and not the row before the column.
POSITIONS = tuple(
    f"{row}-{column}"
    for row in ("top", "middle", "bottom")
    for column in ("left", "center", "right")
)
MAX_THINGS = 5
_DIGIT_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class Thing:
    """A coloured shape or digit in one cell; `instance` says which drawing of the digit."""

    cell: int
    colour: str
    kind: str
    instance: int | None = None

    def __str__(self) -> str:
        """Its name in questions and answers, for example `red circle` or `blue 7`."""
        return f"{self.colour} {self.kind}"

    @property
    def row(self) -> int:
        """0 at the top."""
        return self.cell // SIDE

    @property
    def column(self) -> int:
        """0 at the left."""
        return self.cell % SIDE

    @property
    def is_digit(self) -> bool:
        """Whether it is a digit rather than a shape."""
        return self.kind in DIGITS


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in reading order: row by row, each from left to right."""

    things: tuple[Thing, ...]

    @property
    def key(self) -> str:
        """The layout in words; decides the split. Drawings and noise are not part of it."""
        return " , ".join(f"{thing} {POSITIONS[thing.cell]}" for thing in self.things)

    def at(self, cell: int) -> Thing | None:
        """What stands in a cell."""
        return next((thing for thing in self.things if thing.cell == cell), None)


def sample_scene(
    split: Split, rng: np.random.Generator, *, fewest: int = 2, most: int = MAX_THINGS
) -> Scene:
    """Draw a scene of `fewest` to `most` things whose layout belongs to `split`."""
    while True:
        cells = np.sort(rng.choice(SIDE * SIDE, rng.integers(fewest, most + 1), replace=False))
        scene = Scene(tuple(_sample_thing(int(cell), split, rng) for cell in cells))
        if bucket(scene.key) in split.buckets:
            return scene


def _sample_thing(cell: int, split: Split, rng: np.random.Generator) -> Thing:
    colour = str(rng.choice(COLOURS))
    if rng.random() >= _DIGIT_SHARE:
        return Thing(cell, colour, str(rng.choice(SHAPES)))
    digit = int(rng.integers(10))
    return Thing(cell, colour, str(digit), int(rng.choice(digits.instances(split, digit))))
