"""Endless, reproducible samples: a picture, a question, the answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from PIL.Image import Image

from workers.scenes.drawing import draw
from workers.scenes.questions import ASKERS, KINDS
from workers.scenes.scene import Scene, sample_scene
from workers.scenes.splits import Split


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about one picture; `kind` is a key of `questions.ASKERS`."""

    kind: str
    scene: Scene
    image: Image
    question: str
    answer: str


def samples(split: Split, *, seed: int, kind: str) -> Iterator[Sample]:
    """Yield samples of one question kind without end, each about a scene of its own."""
    for index in count():
        rng = split.rng(seed, KINDS.index(kind), index)
        scene = sample_scene(split, rng)
        asked = ASKERS[kind](scene, rng)
        if asked:
            yield Sample(kind, scene, draw(scene, rng), *asked)
