"""Mask and weights together: against the rounds written out in float64, and against SparseGPT."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NonFiniteError
from app.recipes.methods.admm import Admm
from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.pattern import NM, Unstructured
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.importance.admm import AdmmCriterion
from workers.pruning.importance.sparsegpt import SparseGPTCriterion
from workers.pruning.selection.selection import Selection

PATTERNS = [Unstructured(), Unstructured(group="row"), NM(n=2, m=4)]


def problem(seed, rows=16, columns=24, tokens=200):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, columns, generator=draw) @ torch.randn(
        columns, columns, generator=draw
    )
    statistic = Hessian(columns, inputs.device)
    statistic.add(inputs, 4)
    return torch.randn(rows, columns, generator=draw), inputs, statistic


def error(dense, weight, inputs):
    return float((inputs.double() @ (dense.double() - weight.double()).T).square().sum()) / 4


def by_the_book(dense, inputs, selection, settings):
    """The rounds in float64, outputs solved for one by one on the final mask."""
    x, w = inputs.double(), dense.double().T
    moments = x.T @ x / 4
    scale = moments.diagonal().sqrt()
    a = moments / scale[:, None] / scale + settings.damping * torch.eye(len(w)).double()
    q = torch.linalg.inv(a + settings.penalty * torch.eye(len(w)).double())
    b, v = a @ (scale[:, None] * w), scale[:, None] * w
    u = torch.zeros_like(v)
    for number in range(1, settings.rounds + 1):
        share = 1 - (1 - number / settings.rounds) ** 3
        grows = isinstance(selection.pattern, Unstructured)
        count = int(selection.count * share) if grows else selection.count
        mask = Selection(selection.pattern, count).mask((v + u).abs().T.float().contiguous()).T
        z = (v + u).masked_fill(mask, 0)
        u = u + v - z
        v = q @ (b + settings.penalty * (z - u))
    found = torch.zeros_like(w)
    for output in range(w.shape[1]):
        kept = ~mask[:, output]
        found[kept, output] = torch.linalg.lstsq(x[:, kept], x @ w[:, output, None]).solution[:, 0]
    return found.T


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_its_error_is_that_of_the_rounds_written_out(pattern, seed):
    dense, inputs, statistic = problem(seed)
    selection, settings = Selection(pattern, dense.numel() // 2), Admm(steps=300)
    weight = dense.clone()
    outcome = AdmmCriterion(settings).prune(weight, statistic, selection)
    expected = error(dense, by_the_book(dense, inputs, selection, settings), inputs)
    # Damping pulls towards the dense weights, which the solve of single outputs is free of.
    assert outcome.error == pytest.approx(error(dense, weight, inputs), rel=1e-3)
    assert outcome.error <= 1.05 * expected
    assert torch.equal(weight == 0, outcome.mask)


@pytest.mark.parametrize("pattern", PATTERNS[:1] + PATTERNS[2:], ids=str)
def test_it_loses_less_than_sparsegpt(pattern):
    for seed in range(4):
        dense, inputs, statistic = problem(seed)
        selection = Selection(pattern, dense.numel() // 2)
        one, other = dense.clone(), dense.clone()
        AdmmCriterion(Admm()).prune(one, statistic, selection)
        SparseGPTCriterion(SparseGPT()).prune(other, statistic, selection)
        assert error(dense, one, inputs) < error(dense, other, inputs)


@given(st.integers(0, 2**32), st.sampled_from(PATTERNS), st.floats(0, 1), st.integers(1, 20))
def test_budgets_are_exact(seed, pattern, share, rounds):
    dense, _, statistic = problem(seed, rows=5, columns=12, tokens=30)
    nm = isinstance(pattern, NM)
    count = dense.numel() // 2 if nm else int(share * dense.numel())
    weight = dense.clone()
    outcome = AdmmCriterion(Admm(rounds=rounds)).prune(weight, statistic, Selection(pattern, count))
    assert int(outcome.mask.sum()) == count
    assert int((weight == 0).sum()) == count
    if nm:
        assert (outcome.mask.view(5, 3, 4).sum(-1) == 2).all()


def test_inputs_that_are_always_zero_give_first():
    dense, inputs, _ = problem(5)
    inputs[:, 3] = 0
    statistic = Hessian(inputs.shape[1], inputs.device)
    statistic.add(inputs, 4)
    outcome = AdmmCriterion(Admm()).prune(
        dense.clone(), statistic, Selection(Unstructured(), len(dense))
    )
    assert outcome.mask[:, 3].all()


def test_a_weight_that_is_not_finite_is_refused_and_nothing_is_written():
    dense, _, statistic = problem(6)
    dense[2, 2] = float("inf")
    weight = dense.clone()
    with pytest.raises(NonFiniteError):
        AdmmCriterion(Admm()).prune(weight, statistic, Selection(Unstructured(), 10))
    assert torch.equal(weight, dense)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_least_squares_go_on_from_what_the_rounds_came_to(pattern):
    dense, inputs, statistic = problem(1)
    selection = Selection(pattern, dense.numel() // 2)

    def left(steps):
        weight = dense.clone()
        settings = Admm(rounds=100, steps=steps)
        AdmmCriterion(settings).prune(weight, statistic, selection)
        return error(dense, weight, inputs)

    assert left(1) < 1.1 * left(300)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_no_more_go_where_more_inputs_are_always_zero_than_weights_go(pattern):
    dense, inputs, _ = problem(0)
    inputs[:, ::2] = 0
    inputs[:, 1] = 0
    statistic = Hessian(24, inputs.device)
    statistic.add(inputs, 4)
    share = 0.5 if isinstance(pattern, NM) else 0.25
    selection = Selection(pattern, int(share * dense.numel()))
    weight = dense.clone()
    outcome = AdmmCriterion(Admm()).prune(weight, statistic, selection)
    assert torch.equal(weight == 0, outcome.mask)
    assert int(outcome.mask.sum()) == selection.count
