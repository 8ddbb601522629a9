"""LAMP, global magnitude, SNIP and CHITA against the official code on one shared model."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from app.recipes.allocation import Pooled
from app.recipes.methods.chita import Chita
from app.recipes.methods.lamp import Lamp
from app.recipes.methods.magnitude import Magnitude
from app.recipes.methods.snip import Snip
from app.recipes.recipe import Recipe
from tests.conformance.multiflow.cases import arrays, baseline, description, matrix, needs_cases
from workers.pruning.allocation import allocate
from workers.pruning.calibration.backward import Backward
from workers.pruning.engine.dense_pass import Rank
from workers.pruning.importance import find_criterion
from workers.pruning.memory import Memory
from workers.pruning.selection.selection import Selection

pytestmark = needs_cases
SPARSITIES = ["0.63", "0.75", "0.9"]


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize(
    ("case", "importance"),
    [("base_lamp", Lamp()), ("base_omp_global", Magnitude()), ("base_snip", Snip())],
)
def test_scores_and_masks(case, importance, sparsity):
    matrices, recorded = baseline(case)
    recipe = Recipe(allocation=Pooled(), importance=importance, sparsity=float(sparsity))
    criterion = find_criterion(recipe)
    digests: dict[Any, Any] = {}
    if case == "base_snip":
        digests = {m: torch.tensor(recorded[f"gradsum/{m.name}"]) for m in matrices}
    ranks = {m: Rank(m, criterion, digests.get(m)) for m in matrices}
    total = sum(float(rank().double().sum()) for rank in ranks.values())
    counts = allocate(recipe, ranks)
    for each, rank in ranks.items():
        theirs = recorded[f"score/{sparsity}/{each.name}"]
        mine = rank().double().numpy() / (total if case == "base_snip" else 1)
        # A live weight without gradient scores next to nothing instead of nothing.
        assert np.allclose(mine, theirs, rtol=1e-5, atol=1e-30), each.name
        gone = Selection(recipe.pattern, counts[each]).mask(rank())
        assert np.array_equal(~gone.numpy(), recorded[f"mask/{sparsity}/{each.name}"] == 1)


@dataclass(frozen=True, slots=True)
class Recorded(Backward):
    """Hands out recorded gradients."""

    rows_by_name: dict[str, Any]

    def each(self, matrices, take):
        for number in range(len(self.batches)):
            for each in matrices:
                take(number, each, self.rows_by_name[each.name][number].view(each.weight.shape))


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_chita(sparsity):
    recorded, fixed = arrays("base_chita_b10000"), arrays("base_chita_b10000_fixed")
    flat, offset, matrices, rows = torch.tensor(fixed["w_before_flat"]), 0, [], {}
    for name in fixed["layer_order"].tolist():
        shape = description("base_chita_b10000")["shapes"][name]
        part = slice(offset, offset := offset + shape[0] * shape[1])
        matrices.append(matrix(name, flat[part].view(*shape).numpy()))
        rows[name] = torch.tensor(recorded[f"A/{sparsity}/0"][:, part])
    damping, samples = float(recorded["lambda_"]), int(recorded["fisher_mini_bsz"])
    batches = [{"inputs": torch.zeros(samples, 1)}] * len(rows[name])
    nothing_kept = SimpleNamespace(memory=Memory())
    backward = Recorded(nothing_kept, batches, lambda _done, _total: None, rows)
    criterion = find_criterion(Recipe(importance=Chita(damping=damping), sparsity=0.5))
    theirs = torch.tensor(fixed[f"w_flat/{sparsity}"])
    pruned = int((theirs == 0).sum())  # they keep floor((1 - s) P), we prune floor(s P)

    digests = criterion.gradient_digests(backward, matrices, pruned)
    ranks = {m: Rank(m, criterion, digests[m]) for m in matrices}
    recipe = Recipe(allocation=Pooled(), sparsity=(pruned + 0.5) / len(flat))
    counts = allocate(recipe, ranks)
    gradients = backward.rows(matrices)
    solved = [
        criterion.solve(m.weight, gradients[m], digests[m], Selection(recipe.pattern, counts[m]))[0]
        for m in matrices
    ]

    mine = torch.cat([each.flatten() for each in solved])
    assert torch.equal(mine == 0, theirs == 0)
    # They solve in float32 with a ridge of 1e-3, which leaves noise of a few percent (emulated:
    # up to 15 % of a block's largest weight); our float64 minimum is never above theirs.
    ridge = len(batches) * damping / 2
    offset = 0
    for each, weight in zip(matrices, solved, strict=True):
        part = slice(offset, offset := offset + each.numel)
        their = theirs[part].double()
        away = weight.flatten().double() - their
        assert away.abs().max() <= 0.15 * max(1.0, float(their.abs().max())), each.name
        assert value(each, rows[each.name], samples, weight.flatten(), ridge) <= (
            value(each, rows[each.name], samples, their, ridge) + 1e-4
        )


def value(each, rows, samples, beta, ridge):
    """F of one block, written out."""
    dense, rows, beta = each.weight.flatten().double(), rows.double(), beta.double()
    away = dense - beta
    linear = float(rows.sum(0) @ beta) / samples
    return float((rows @ away).square().sum()) / 2 + ridge * float(away.square().sum()) + linear
