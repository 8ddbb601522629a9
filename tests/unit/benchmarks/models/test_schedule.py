"""The learning-rate curve of the reference models."""

import pytest
import torch
from torch import nn

from benchmarks.models.schedule import WARM_UP, constant, cosine, late_fall, optimise


def test_parts_have_rates_of_their_own_and_all_end_at_rest():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    part, moved = model[1], []

    def loss(step):
        moved.append([float(layer.weight.detach()) for layer in model])
        return (model(torch.ones(1, 1)) - 100).square().sum()

    optimise({model: 1e-2, part: 1e-4}, loss, steps=range(4 * WARM_UP))
    steps = torch.tensor(moved).diff(dim=0).abs()
    assert steps[:, 1].max() < steps[:, 0].max() / 20
    assert steps[0, 0] < steps[WARM_UP, 0] / 5
    assert steps[-1, 0] < steps[WARM_UP, 0] / 50


def test_curves_end_at_rest_unless_they_are_constant():
    shares = [step / 100 for step in range(101)]
    for curve, last in ((cosine, 0), (late_fall, 0), (constant, 1)):
        drawn = [curve(share) for share in shares]
        assert drawn[0] == 1
        assert drawn[-1] == pytest.approx(last)
        assert drawn == sorted(drawn, reverse=True)
    assert late_fall(0.5) == 1


def test_steps_keep_their_numbers():
    seen = []
    model = nn.Linear(1, 1)

    def loss(step):
        seen.append(step)
        return model.weight.sum()

    optimise({model: 1e-3}, loss, steps=range(7, 10))
    assert seen == [7, 8, 9]
    assert model.weight.detach().item() != pytest.approx(0)
