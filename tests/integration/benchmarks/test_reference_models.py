"""The committed reference models load with plain transformers and know what their cards say."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPModel,
    CLIPProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from workers.scenes.evaluate import answer_accuracy, retrieval, zero_shot

LLAVA = Path("benchmarks/models/scenes-llava")
CLIP = Path("benchmarks/models/scenes-clip")
UNSEEN_SEED = 20_000
# Below the card's figures by what 100 samples can miss by chance.
FLOORS = {
    "caption": 0.80,
    "digits": 0.77,
    "cell": 0.92,
    "digit": 0.85,
    "colour": 0.89,
    "position": 0.55,
    "count": 0.84,
    "relation": 0.84,
    "exists": 0.90,
}


@pytest.mark.parametrize(
    ("path", "auto", "model_class", "processor_class"),
    [
        (LLAVA, AutoModelForImageTextToText, LlavaForConditionalGeneration, LlavaProcessor),
        (CLIP, AutoModel, CLIPModel, CLIPProcessor),
    ],
    ids=["llava", "clip"],
)
def test_it_is_an_ordinary_checkpoint(path, auto, model_class, processor_class):
    model, info = auto.from_pretrained(path, output_loading_info=True)
    assert type(model) is model_class
    assert model.config.architectures == [model_class.__name__]
    assert not any(info.values())
    assert type(AutoProcessor.from_pretrained(path)) is processor_class
    assert sum(file.stat().st_size for file in path.iterdir()) < 12e6
    assert all(weight.isfinite().all() for weight in load_file(path / "model.safetensors").values())


def test_llava_answers_every_kind_of_question():
    torch.set_num_threads(1)
    model = AutoModelForImageTextToText.from_pretrained(LLAVA).eval()
    processor = AutoProcessor.from_pretrained(LLAVA)
    scores = answer_accuracy(model, processor, seed=UNSEEN_SEED, per_kind=100)
    assert {kind: score.rate for kind, score in scores.items() if score.rate < FLOORS[kind]} == {}


def test_clip_finds_and_names_scenes():
    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(CLIP).eval()
    processor = AutoProcessor.from_pretrained(CLIP)
    found = retrieval(model, processor, seed=UNSEEN_SEED, size=200)
    assert found["image to text R@1"].rate > 0.8
    assert found["text to image R@1"].rate > 0.8
    assert zero_shot(model, processor, seed=UNSEEN_SEED, size=200)["both"].rate > 0.4
