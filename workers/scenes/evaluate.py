"""What a model knows about scenes: answers, retrieval, zero-shot names. Scores carry counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from workers.scenes.drawing import draw
from workers.scenes.questions import KINDS
from workers.scenes.samples import Sample, samples
from workers.scenes.scene import COLOURS, DIGITS, SHAPES, Scene, sample_scene
from workers.scenes.splits import Split

LONGEST_ANSWER = 25  # tokens: a caption of five things, and the end token
BATCH = 64
RANKS = (1, 5)


@dataclass(frozen=True, slots=True)
class Score:
    """How many of `total` were right; `hits` keeps each outcome, for paired comparisons."""

    hits: tuple[bool, ...]

    @property
    def total(self) -> int:
        """The number of samples."""
        return len(self.hits)

    @property
    def rate(self) -> float:
        """The share that was right."""
        return sum(self.hits) / len(self.hits)


def answer_accuracy(
    model: Any, processor: Any, *, split: Split = Split.TEST, seed: int = 0, per_kind: int = 200
) -> dict[str, Score]:
    """Exact matches of greedy answers, by question kind.

    Args:
        model: a LLaVA-style model; its device and mode are used as they are.
        processor: its processor, with a tokenizer that pads on the left.
        split: where scenes and digits come from.
        seed: another seed, other scenes of the same split.
        per_kind: samples of each kind, every one about a scene of its own.
    """
    scores = {}
    for kind in KINDS:
        asked = list(islice(samples(split, seed=seed, kind=kind), per_kind))
        given = answers(model, processor, asked)
        pairs = zip(given, asked, strict=True)
        scores[kind] = Score(tuple(answer == sample.answer for answer, sample in pairs))
    return scores


@torch.inference_mode()
def answers(model: Any, processor: Any, asked: list[Sample]) -> list[str]:
    """Greedy answers to the questions, in order."""
    given: list[str] = []
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        inputs = processor(
            images=[sample.image for sample in part],
            text=[f"<image> {sample.question}" for sample in part],
            padding=True,
            return_tensors="pt",
        ).to(model.device)
        tokens = model.generate(**inputs, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        given += processor.batch_decode(
            tokens[:, inputs.input_ids.shape[1] :], skip_special_tokens=True
        )
    return given


def retrieval(
    model: Any, processor: Any, *, split: Split = Split.TEST, seed: int = 0, size: int = 500
) -> dict[str, Score]:
    """Recall at `RANKS`, image to text and text to image, among `size` scenes of unlike captions.

    Chance is rank / size.
    """
    gallery = dict(islice(_unlike(split, seed, fewest=2), size))
    similarity = _similarity(model, processor, list(gallery.values()), list(gallery))
    own = torch.arange(size, device=similarity.device)
    return {
        f"{direction} R@{rank}": Score(
            tuple((table.topk(rank).indices == own[:, None]).any(dim=1).tolist())
        )
        for direction, table in (("image to text", similarity), ("text to image", similarity.T))
        for rank in RANKS
    }


def zero_shot(
    model: Any, processor: Any, *, split: Split = Split.TEST, seed: int = 0, size: int = 500
) -> dict[str, Score]:
    """Name the only thing in a picture: its colour, its kind and both, out of all 84 names.

    Chance is 1/6, 1/14 and 1/84.
    """
    names = [f"{colour} {kind}" for colour in COLOURS for kind in (*SHAPES, *DIGITS)]
    drawn = list(islice(_drawn(split, seed, fewest=1, most=1), size))
    table = _similarity(model, processor, [image for _, image in drawn], names)
    pairs = [
        (names[best].split(), str(scene.things[0]).split())
        for best, (scene, _) in zip(table.argmax(dim=1).tolist(), drawn, strict=True)
    ]
    return {
        "colour": Score(tuple(given[0] == true[0] for given, true in pairs)),
        "kind": Score(tuple(given[1] == true[1] for given, true in pairs)),
        "both": Score(tuple(given == true for given, true in pairs)),
    }


def _drawn(split: Split, seed: int, **things: int) -> Iterator[tuple[Scene, Image]]:
    for index in count():
        rng = split.rng(seed, len(KINDS), index)  # a stream that no question kind uses
        scene = sample_scene(split, rng, **things)
        yield scene, draw(scene, rng)


def _unlike(split: Split, seed: int, **things: int) -> Iterator[tuple[str, Image]]:
    seen = set()
    for scene, image in _drawn(split, seed, **things):
        if scene.key not in seen:
            seen.add(scene.key)
            yield scene.key, image


@torch.inference_mode()
def _similarity(model: Any, processor: Any, images: list[Image], texts: list[str]) -> Tensor:
    """Cosine similarity times the logit scale, (images, texts)."""
    inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
    logits: Tensor = model(**inputs.to(model.device)).logits_per_image
    return logits
