"""Train `scenes-llava` from scratch: `make train-scenes-llava`.

First captions only, which teach it to see; then every kind of question about each picture, those
that compare, count or search more often, since they are learned last.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from benchmarks.figures import Figure, conclude
from benchmarks.models.llava import build_model, build_processor
from benchmarks.models.packing import IGNORED, Turn, pack
from benchmarks.models.report import dense_figures
from benchmarks.models.schedule import cosine, optimise
from benchmarks.models.vision import VisionLesson, teach_vision
from workers.scenes.drawing import IMAGE_SIZE, draw
from workers.scenes.evaluate import answer_accuracy
from workers.scenes.questions import ASKERS
from workers.scenes.scene import SIDE, sample_scene
from workers.scenes.splits import Split

TOWER_SHARE = 0.1  # of the rate: the vision tower only moves a little from what it knows
_ALL = dict.fromkeys(ASKERS, 1) | {"position": 4, "count": 2, "relation": 3, "exists": 2}
_HARD = _ALL | {"colour": 2, "digit": 2, "exists": 3}


@dataclass(frozen=True)
class Lesson:
    """A stage of training.

    Attributes:
        steps: numbers of its batches.
        size: pictures in a batch.
        times: how often each kind is asked about a picture; nothing is asked twice.
        peak: of the learning rate.
        fewest: things in a picture, at least.
    """

    steps: range
    size: int
    times: Mapping[str, int]
    peak: float
    fewest: int = 2


VISION = VisionLesson(3000, fewest=5, most=SIDE * SIDE, warp=True, curve=cosine)
# Captions, which teach it to see; all questions; those that are learned last more often.
CAPTIONS = Lesson(range(300), 32, {"caption": 1}, 1.5e-3)
QUESTIONS = (
    Lesson(range(300, 4800), 8, _ALL, 1.5e-3),
    Lesson(range(4800, 7200), 8, _HARD, 7e-4, fewest=3),
)


def train() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Train on the training split with fixed seeds: one machine gives one model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    processor = build_processor()
    model = build_model(processor)
    tower = model.model.vision_tower
    teach_vision(tower, processor.image_processor, VISION)

    tower.requires_grad_(False)
    learn(model, processor, CAPTIONS)
    tower.requires_grad_(True)
    for lesson in QUESTIONS:
        learn(model, processor, lesson)
    return model.eval(), processor


def learn(model: LlavaForConditionalGeneration, processor: LlavaProcessor, lesson: Lesson) -> None:
    """One lesson, with an optimiser of its own."""
    rates = {model: lesson.peak, model.model.vision_tower: TOWER_SHARE * lesson.peak}
    optimise(
        rates, lambda step: answer_loss(model, batch(processor, step, lesson)), steps=lesson.steps
    )


def answer_loss(model: LlavaForConditionalGeneration, packed: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the answers' tokens, the end token among them."""
    labels = packed.pop("labels")[:, 1:]
    answers = labels != IGNORED
    hidden = model.model(**packed, use_cache=False).last_hidden_state
    return nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][answers]), labels[answers])


def batch(processor: LlavaProcessor, step: int, lesson: Lesson) -> dict[str, Tensor]:
    """Draw pictures and pack what is asked about each; equal arguments, equal batch."""
    images, scenes = [], []
    for index in range(lesson.size):
        rng = Split.TRAIN.rng(0, step, index)
        scene = sample_scene(Split.TRAIN, rng, fewest=lesson.fewest)
        images.append(draw(scene, rng, warp=True))
        asked = [
            ASKERS[kind](scene, rng) for kind, count in lesson.times.items() for _ in range(count)
        ]
        scenes.append([turn(processor, *pair) for pair in dict.fromkeys(asked) if pair])
    tokenizer = processor.tokenizer
    patches = (IMAGE_SIZE // processor.patch_size) ** 2
    prefix = [tokenizer.bos_token_id] + [processor.image_token_id] * patches
    return pack(prefix, scenes, tokenizer.pad_token_id) | {
        "pixel_values": processor.image_processor(images, return_tensors="pt").pixel_values
    }


def turn(processor: LlavaProcessor, question: str, answer: str) -> Turn:
    """Encode one question and its answer, which ends with the end token."""
    ids = processor.tokenizer([question, answer], add_special_tokens=False).input_ids
    return Turn(ids[0], [*ids[1], processor.tokenizer.eos_token_id])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    trained, its_processor = train()
    trained.save_pretrained(target)
    its_processor.save_pretrained(target)
    figures = {"training, CPU minutes": Figure(time.process_time() / 60, most=40)}
    found = answer_accuracy(trained, its_processor, per_kind=500)
    sys.exit(conclude(figures | dense_figures("scenes-llava", found)))
