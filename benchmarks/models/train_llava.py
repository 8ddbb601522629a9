"""Train `scenes-llava` from scratch: `make train-scenes-llava`.

First captions only, which teach it to see; then every kind of question about each picture, those
that compare, count or search more often, since they are learned last.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from benchmarks.models.llava import build_model, build_processor
from benchmarks.models.packing import IGNORED, Turn, pack
from benchmarks.models.schedule import optimise
from benchmarks.models.towers import PATCHES
from benchmarks.models.vision import teach_vision
from workers.scenes.drawing import draw
from workers.scenes.questions import ASKERS
from workers.scenes.scene import sample_scene
from workers.scenes.splits import Split

# Steps of captions, of all questions, and of all questions in smaller batches at a falling rate.
CAPTIONS, QUESTIONS, FINISH = range(300), range(300, 800), range(800, 3200)
PEAK = 1.5e-3
# How often each kind is asked about a picture.
TIMES = dict.fromkeys(ASKERS, 1) | {
    "colour": 2,
    "position": 2,
    "count": 2,
    "relation": 3,
    "exists": 2,
}


def train() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Train on the training split with fixed seeds: one machine gives one model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    processor = build_processor()
    model = build_model(processor)
    tower = model.model.vision_tower
    teach_vision(tower, processor.image_processor)
    tower.requires_grad_(False)

    def losses(step: int) -> Tensor:
        return answer_loss(model, batch(processor, step, *_lesson(step)))

    optimise(model, losses, steps=range(QUESTIONS.stop), peak=PEAK, decay=0)
    optimise(model, losses, steps=FINISH, peak=PEAK)
    return model.eval(), processor


def _lesson(step: int) -> tuple[int, dict[str, int]]:
    """How many pictures a step has, and how often each kind is asked about one."""
    if step in CAPTIONS:
        return 32, {"caption": 1}
    return (16 if step in QUESTIONS else 8), TIMES


def answer_loss(model: LlavaForConditionalGeneration, packed: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the answers' tokens, the end token among them."""
    labels = packed.pop("labels")[:, 1:]
    answers = labels != IGNORED
    hidden = model.model(**packed, use_cache=False).last_hidden_state
    return nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][answers]), labels[answers])


def batch(
    processor: LlavaProcessor, step: int, size: int, times: dict[str, int]
) -> dict[str, Tensor]:
    """Draw `size` pictures and pack what is asked about each; equal arguments, equal batch."""
    images, scenes = [], []
    for index in range(size):
        rng = Split.TRAIN.rng(0, step, index)
        scene = sample_scene(Split.TRAIN, rng)
        images.append(draw(scene, rng))
        asked = [ASKERS[kind](scene, rng) for kind, count in times.items() for _ in range(count)]
        scenes.append([turn(processor, *pair) for pair in dict.fromkeys(asked) if pair])
    tokenizer = processor.tokenizer
    prefix = [tokenizer.bos_token_id] + [processor.image_token_id] * PATCHES
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
