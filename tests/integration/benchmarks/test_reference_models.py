"""The committed reference models load with plain transformers and know what their cards say."""

from pathlib import Path
from statistics import mean

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

from benchmarks.models.report import prune_by_magnitude
from workers.scenes.evaluate import answer_accuracy, retrieval, zero_shot

LLAVA = Path("benchmarks/models/scenes-llava")
CLIP = Path("benchmarks/models/scenes-clip")
UNSEEN_SEED = 20_000
SAMPLES = 300  # a kind
# 0.95 of every kind of question, less what 300 samples miss by chance (two standard errors).
LEAST = 0.95 - 2 * (0.95 * 0.05 / SAMPLES) ** 0.5


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
    scores = answer_accuracy(model, processor, seed=UNSEEN_SEED, per_kind=SAMPLES)
    assert {kind: score.rate for kind, score in scores.items() if score.rate < LEAST} == {}


def test_pruning_visibly_costs_llava():
    """A model too large for its task would tell no methods apart."""
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(LLAVA)
    rates = []
    for sparsity in (0.5, 0.7):
        model = AutoModelForImageTextToText.from_pretrained(LLAVA).eval()
        prune_by_magnitude(model, sparsity)
        found = answer_accuracy(model, processor, seed=UNSEEN_SEED, per_kind=40)
        rates.append(mean(score.rate for score in found.values()))
    assert rates[0] < 0.95
    assert rates[1] < 0.7


def test_clip_finds_and_names_scenes():
    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(CLIP).eval()
    processor = AutoProcessor.from_pretrained(CLIP)
    found = retrieval(model, processor, seed=UNSEEN_SEED, size=200)
    assert found["image to text R@1"].rate > 0.8
    assert found["text to image R@1"].rate > 0.8
    assert zero_shot(model, processor, seed=UNSEEN_SEED, size=200)["both"].rate > 0.4
