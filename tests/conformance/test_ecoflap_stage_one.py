"""Scores and budgets against recorded results of the official code."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from app.recipes.allocation import FirstOrder, GradientNorm, ZerothOrder
from app.recipes.modality import Modality
from workers.pruning.allocation.ecoflap import measure
from workers.pruning.allocation.ecoflap.ranking import score_groups
from workers.pruning.allocation.ecoflap.water_filling import Group, decimal, keep_counts
from workers.pruning.memory import Memory
from workers.pruning.models.layout.structure import Block, Matrix, Tower

DATA = Path(__file__).parents[3] / "shared" / "conformance" / "ecoflap"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recorded cases lie beside the project, not in it"
)
SEEDS, DRAWS = 300, 60  # draws of one run differ as runs with other seeds do


def recorded(name):
    return json.loads((DATA / name).read_text()) if DATA.is_dir() else {}


BUDGETS = recorded("allocation_cases.json").get("cases", [])


@pytest.mark.parametrize("case", BUDGETS, ids=lambda case: case["name"])
def test_budgets(case):
    sizes = case["param_counts"]
    groups = [
        Group(str(i), n, s) for i, (n, s) in enumerate(zip(sizes, case["scores"], strict=True))
    ]
    keep = math.floor(sum(sizes) * (1 - decimal(case["target_sparsity"])))
    assert keep == case["params_to_keep_target"]
    kept = keep_counts(groups, keep, case["max_sparsity"])
    assert sum(kept) == keep
    sparsities = [1 - count / n for count, n in zip(kept, sizes, strict=True)]
    np.testing.assert_allclose(sparsities, case["exact_sparsity"], atol=1 / min(sizes))


class Residual(nn.Module):
    """x + fc2(tanh(fc1(x)))."""

    def __init__(self, features, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, features)

    def forward(self, x):
        return x + self.fc2(torch.tanh(self.fc1(x)))


class TwoTowers(nn.Module):
    """The official run's toy: three blocks, a projection, two blocks, a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(Residual(8, 16) for _ in range(3))
        self.proj = nn.Linear(8, 12)
        self.second = nn.ModuleList(Residual(12, 20) for _ in range(2))
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        for block in self.first:
            x = block(x)
        x = self.proj(x)
        for block in self.second:
            x = block(x)
        return self.head(x)


@dataclass
class Toy:
    """As much of an adapter as stage 1 asks for."""

    model: nn.Module
    towers: tuple[Tower, ...]
    memory: Memory = field(default_factory=Memory)

    def loss(self, batch):
        return functional.cross_entropy(self.model(batch["x"]), batch["y"])


NAMES = {"first": "visual_encoder.blocks", "second": "t5_model.encoder.block"}


@pytest.fixture(scope="module")
def toy():
    stored = np.load(DATA / "ecoflap_zo_tiny_model.npz")
    model = TwoTowers()
    state = {}
    for key in model.state_dict():
        head, _, rest = key.partition(".")
        state[key] = torch.from_numpy(stored[f"w::{NAMES.get(head, head)}.{rest}"])
    model.load_state_dict(state)

    def tower(attribute, modality):
        blocks = []
        for index, module in enumerate(getattr(model, attribute)):
            name = f"{NAMES[attribute]}.{index}"
            matrices = tuple(
                Matrix(f"{name}.{fc}.weight", "", modality, linear.weight, (linear,))
                for fc, linear in module.named_children()
            )
            blocks.append(Block(name, module, matrices))
        return Tower(NAMES[attribute], modality, tuple(blocks))

    towers = (tower("first", Modality.VISION), tower("second", Modality.LANGUAGE))
    data = torch.from_numpy(stored["X"]), torch.from_numpy(stored["Y"])

    def batches(samples, size):
        chunks = zip(*(part[:samples].split(size) for part in data), strict=True)
        return list(enumerate({"x": x, "y": y} for x, y in chunks))

    return Toy(model.eval(), towers), batches


@pytest.fixture(scope="module")
def results():
    return recorded("ecoflap_zo_cases.json")["results"]


def matrices_of(adapter):
    return [m for tower in adapter.towers for block in tower.blocks for m in block.matrices]


def groups_of(adapter):
    return {block.name: block.matrices for tower in adapter.towers for block in tower.blocks}


def test_gradient_norms(toy, results):
    adapter, batches = toy
    scores = measure(adapter, GradientNorm(), batches(32, 8), matrices_of(adapter))
    for name, norms in results["exact_grad_l2_norm_per_batch_bs8_first4"].items():
        np.testing.assert_allclose(scores.values[name], norms, rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "form"),
    [("fo_magabs_sum", "magnitude"), ("fo_magsq_avg", "squared"), ("fo_gradonly", "gradient")],
)
def test_first_order(case, form, toy, results):
    adapter, batches = toy
    expected = results[case]
    matrices = matrices_of(adapter)
    scores = measure(
        adapter,
        FirstOrder(form=form),
        batches(expected["num_samples"], expected["batch_size"]),
        matrices,
    )
    each = score_groups(scores, {m.name: [m] for m in matrices}, "sum")
    for group in each:
        assert group.score == pytest.approx(expected["per_weight_score_sum"][group.name], rel=1e-5)
    aggregate = expected["score_method"].rpartition("_")[2]
    blocks = score_groups(scores, groups_of(adapter), aggregate)
    kept = keep_counts([Group(b.name, b.weights, b.score) for b in blocks], 864, 0.6)
    for block, count in zip(blocks, kept, strict=True):
        official = expected["layer_sparsity"][f"{block.name}.fc1.weight"]
        assert 1 - count / block.weights == pytest.approx(official, abs=0.02)


def test_zeroth_order_in_the_mean_over_seeds(toy, results):
    adapter, batches = toy
    expected = results["expected_zo_score_sqrt(2/pi)*sum||g||_2"]
    runs = [
        measure(adapter, ZerothOrder(draws=DRAWS), batches(32, 8), matrices_of(adapter), seed=seed)
        for seed in range(SEEDS // DRAWS)
    ]
    for name, value in expected.items():
        mean = math.fsum(v for run in runs for v in run.values[name]) / len(runs)
        assert mean == pytest.approx(value, rel=0.06)
        assert mean == pytest.approx(results["zo_mean_over_300_seeds"][name], rel=0.12)
