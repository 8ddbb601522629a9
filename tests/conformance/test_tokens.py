"""Choices of tokens against recorded results of the official code of TAMP and ATV-Pruning."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from workers.pruning.calibration.tokens import Stream, likeness, most_changed, standing_for_all

DATA = Path(__file__).parents[3] / "shared" / "conformance" / "tokens"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recorded cases lie beside the project, not in it"
)
CASES = json.loads((DATA / "token_selection.json").read_text())["cases"] if DATA.is_dir() else []


@pytest.fixture(params=CASES, ids=lambda case: f"case {case['case']}")
def case(request):
    return request.param


@pytest.fixture
def samples(case):
    """Inputs, block outputs, image masks and attention scores of every sample."""
    stored = np.load(DATA / "token_selection.npz")
    names = ("x", "block_out", "image_mask", "score")
    return [
        {name: torch.from_numpy(stored[f"{case['case']}.{number}.{name}"]) for name in names}
        for number in range(case["samples"])
    ]


@pytest.fixture
def recorded(case):
    stored = np.load(DATA / "token_selection.npz")
    prefix = f"{case['case']}."
    return {
        name.removeprefix(prefix): torch.from_numpy(stored[name])
        for name in stored.files
        if name.startswith(prefix)
    }


def streams(samples):
    images = [each["image_mask"][None] for each in samples]
    return [Stream(image, ~image) for image in images]


def test_atv_takes_the_image_tokens_that_change_most(case, samples, recorded):
    changes = [
        1 - functional.cosine_similarity(each["block_out"], each["x"], dim=-1)[None]
        for each in samples
    ]
    masks = most_changed(streams(samples), changes, case["alpha"])
    for each, mask, chosen in zip(samples, masks, case["atv_selected_image_tokens"], strict=True):
        assert mask[0][each["image_mask"]].nonzero().flatten().tolist() == sorted(chosen)
        assert mask[0][~each["image_mask"]].all()
    total = sum((each["x"][mask[0]] ** 2).sum(0) for each, mask in zip(samples, masks, strict=True))
    torch.testing.assert_close(total / len(samples), recorded["atv_sum_of_squares"])


def test_amia_takes_tokens_whose_outputs_stand_for_all(case, samples, recorded):
    total, tokens = 0, 0
    for each, chosen in zip(samples, case["amia_selected_tokens"], strict=True):
        outputs = each["x"] @ recorded["weight"].T
        mask = standing_for_all(outputs, each["score"], each["image_mask"])
        assert mask.nonzero().flatten().tolist() == sorted(chosen)
        total, tokens = total + (each["x"][mask] ** 2).sum(0), tokens + int(mask.sum())
    torch.testing.assert_close(total / tokens, recorded["amia_sum_of_squares"])


def test_density(case, samples, recorded):
    found = []
    for each, expected in zip(samples, case["density_v_l_vl"], strict=True):
        alike = likeness(each["x"] @ recorded["weight"].T, each["image_mask"])
        assert [alike.image, alike.text, alike.across] == pytest.approx(expected, abs=1e-6)
        found.append(3 - alike.image - alike.text - alike.across)
    assert sum(found) / len(found) == pytest.approx(case["das_score"], abs=1e-6)
