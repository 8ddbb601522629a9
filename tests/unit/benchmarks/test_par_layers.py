"""What the layers benchmark of PAR compares a choice with."""

import torch

from benchmarks.par.layers import _figures, _sets
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import Profile


def test_every_set_of_layers_that_may_be_left_out():
    rules = Rules(Profile(1.0, 6, 2), (4, 5, 6), 0.1)
    assert _sets(rules, 8) == ((0, 1, 2, 3, 6, 7), (0, 1, 2, 3, 5, 7), (0, 1, 2, 3, 4, 7))


def test_no_set_is_asked_to_beat_the_best_one():
    kl = torch.tensor([[0.1, 0.3] * 20, [0.3, 0.3] * 20], dtype=torch.float64)
    found = {"router": kl.min(0).values, "random": kl.mean(0), "uniform": kl[0], "prior": kl[1]}
    figures = _figures("m", kl, found)
    assert figures["m: KL of the best fixed set"].value == 0.2
    assert figures["m: KL of the worst fixed set"].value == 0.3
    assert figures["m: KL of each prompt's best set"].value == 0.2
    targets = {
        name: figures[f"m: {name} KL less router's, 2.5 %"].target
        for name in found
        if name != "router"
    }
    assert targets == {"random": 0, "uniform": None, "prior": 0}
    assert figures["m: prior KL less router's, 2.5 %"].ok
