"""The criteria against independent float64 restatements."""

import numpy as np
import pytest
import torch

from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.methods.wanda import Wanda
from app.recipes.pattern import NM, Unstructured
from tests.unit.workers.pruning import references
from workers.pruning.calibration.statistics import Hessian, SquareSum
from workers.pruning.importance.sparsegpt import SparseGPTCriterion
from workers.pruning.importance.wanda import WandaCriterion
from workers.pruning.selection.selection import Selection, budget

PATTERNS = {
    "row": Unstructured(group="row"),
    "matrix": Unstructured(group="matrix"),
    (2, 4): NM(n=2, m=4),
    (3, 5): NM(n=3, m=5),
}


def case(rows, columns, tokens=200, dead=()):
    generator = torch.Generator().manual_seed(rows * columns)
    weight = torch.randn(rows, columns, generator=generator)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    x = torch.randn(tokens, columns, generator=generator) @ (mixing + torch.eye(columns))
    x[:, list(dead)] = 0
    return weight, x


def observed(statistic, x, samples=4):
    seen = statistic(x.shape[1], x.device)
    for part in x.chunk(samples):
        seen.add(part, 1)
    return seen


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_wanda(pattern, sparsity):
    weight, x = case(12, 40)
    expected = references.wanda(weight.numpy(), x.numpy(), sparsity, pattern)
    selection = Selection(PATTERNS[pattern], budget((12, 40), sparsity, PATTERNS[pattern]))
    WandaCriterion(Wanda()).prune(weight, observed(SquareSum, x), selection)
    assert np.array_equal(weight.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("dead", [(), (3, 17)])
@pytest.mark.parametrize("block", [16, 128])
@pytest.mark.parametrize("pattern", ["matrix", (2, 4), (3, 5)])
def test_sparsegpt(pattern, block, dead):
    if pattern == (3, 5):
        block = -(-block // 5) * 5
    weight, x = case(24, 160, tokens=600, dead=dead)
    expected = references.sparsegpt(weight.numpy(), x.numpy(), 4, 0.5, pattern, block=block)
    criterion = SparseGPTCriterion(SparseGPT(block_size=block))
    selection = Selection(PATTERNS[pattern], budget((24, 160), 0.5, PATTERNS[pattern]))
    before = weight.clone()
    outcome = criterion.prune(weight, observed(Hessian, x), selection)
    assert outcome.mask.sum() == (weight == 0).sum() == selection.count
    # float32 decides a few near-ties otherwise than float64 does.
    agreement = ((weight.numpy() == 0) == (expected == 0)).mean()
    assert agreement >= 0.999
    same = ((weight.numpy() == 0) == (expected == 0)).all(1)
    assert np.allclose(weight.numpy()[same], expected[same], rtol=1e-3, atol=1e-3)
    change = (weight - before).double() @ x.double().T
    damped = outcome.error - 0.01 * 2 * float((x**2).sum()) / 4 / 160 * float(
        ((weight - before).double() ** 2).sum() / 2
    )
    assert damped == pytest.approx(float((change**2).sum()) / 4, rel=0.03)


def test_sparsegpt_rows_lose_the_same_number():
    weight, x = case(10, 300, tokens=900)
    selection = Selection(PATTERNS["row"], budget((10, 300), 0.3, PATTERNS["row"]))
    SparseGPTCriterion(SparseGPT()).prune(weight, observed(Hessian, x), selection)
    assert ((weight == 0).sum(1) == 90).all()


def test_sparsegpt_says_when_it_had_to_damp_more():
    weight, x = case(6, 32, tokens=2)
    outcome = SparseGPTCriterion(SparseGPT(damping=1e-9)).prune(
        weight, observed(Hessian, x, samples=1), Selection(PATTERNS["matrix"], 96)
    )
    assert torch.isfinite(weight).all()
    assert "not positive definite" in outcome.warnings[0]


def test_sparsegpt_beats_wanda_at_its_own_measure():
    weight, x = case(24, 160, tokens=600)
    other = weight.clone()
    selection = Selection(PATTERNS["row"], 24 * 80)
    SparseGPTCriterion(SparseGPT()).prune(weight, observed(Hessian, x), selection)
    before = case(24, 160, tokens=600)[0]
    WandaCriterion(Wanda()).prune(other, observed(SquareSum, x), selection)
    loss = [float((((w - before) @ x.T) ** 2).sum()) for w in (weight, other)]
    assert loss[0] < 0.9 * loss[1]
