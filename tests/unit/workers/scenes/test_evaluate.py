"""Scores count what they say, on an untrained model and on one that knows the answers."""

import torch

from benchmarks.models import clip, llava
from workers.scenes.evaluate import Score, answer_accuracy, retrieval, zero_shot
from workers.scenes.questions import KINDS


def test_a_score_keeps_each_outcome():
    assert Score((True, False, True, True)).rate == 0.75
    assert Score((True, False, True, True)).total == 4


def test_an_untrained_llava_knows_nothing():
    torch.manual_seed(0)
    processor = llava.build_processor()
    scores = answer_accuracy(llava.build_model(processor).eval(), processor, per_kind=3)
    assert tuple(scores) == KINDS
    assert all(score.total == 3 for score in scores.values())
    assert sum(sum(score.hits) for score in scores.values()) == 0


def test_an_untrained_clip_is_near_chance():
    torch.manual_seed(0)
    processor = clip.build_processor()
    model = clip.build_model(processor).eval()
    found = retrieval(model, processor, size=40)
    assert tuple(found) == (
        "image to text R@1",
        "image to text R@5",
        "text to image R@1",
        "text to image R@5",
    )
    assert all(score.total == 40 and score.rate < 0.5 for score in found.values())
    assert found["image to text R@1"].rate <= found["image to text R@5"].rate
    assert zero_shot(model, processor, size=40)["both"].rate < 0.2
