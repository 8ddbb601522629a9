"""The weights that stay are those that least squares give, whatever chose them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.pattern import NM, Unstructured
from app.recipes.reconstruction import LeastSquares
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.reconstruction.least_squares import LeastSquaresSolver
from workers.pruning.selection.selection import Selection


def statistic_of(inputs, samples=4):
    found = Hessian(inputs.shape[1], inputs.device)
    found.add(inputs, samples)
    return found


def problem(seed, rows=5, columns=12, tokens=60):
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=draw)
    inputs = torch.randn(tokens, columns, generator=draw) @ mixing
    return torch.randn(rows, columns, generator=draw), inputs, draw


def by_row(dense, inputs, mask):
    """Each output by itself, by torch's own solver in float64."""
    found = torch.zeros_like(dense, dtype=torch.float64)
    outputs = inputs.double() @ dense.double().T
    for row, gone in enumerate(mask):
        columns = torch.nonzero(~gone).flatten()
        if len(columns):
            found[row, columns] = torch.linalg.lstsq(
                inputs.double()[:, columns], outputs[:, row, None]
            ).solution[:, 0]
    return found


def error(dense, weight, inputs, samples=4):
    return float((inputs.double() @ (dense.double() - weight.double()).T).square().sum()) / samples


@pytest.mark.parametrize(
    "pattern", [Unstructured(), Unstructured(group="row"), NM(n=2, m=4)], ids=str
)
def test_it_finds_what_solving_every_output_by_itself_does(pattern):
    dense, inputs, _ = problem(0)
    mask = Selection(pattern, dense.numel() // 2).mask(dense.abs())
    weight = dense.masked_fill(mask, 0)
    solver = LeastSquaresSolver(LeastSquares(damping=0, steps=500))
    solution = solver.solve(weight, dense, mask, statistic_of(inputs))
    expected = by_row(dense, inputs, mask)
    assert torch.equal(weight == 0, mask)
    assert solution.error == pytest.approx(error(dense, expected, inputs), rel=1e-2)
    assert solution.error == pytest.approx(error(dense, weight, inputs), rel=1e-3)
    assert solution.energy == pytest.approx(error(dense, 0 * dense, inputs), rel=1e-3)


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_no_output_gets_worse_and_no_zero_comes_back(seed, share, damping, steps):
    dense, inputs, draw = problem(seed)
    inputs[:, 3] = 0  # an input that is always zero
    mask = torch.rand(dense.shape, generator=draw) < share
    weight = dense.masked_fill(mask, 0)
    before = [error(dense[[i]], weight[[i]], inputs) for i in range(len(dense))]
    solver = LeastSquaresSolver(LeastSquares(damping=damping, steps=steps))
    solver.solve(weight, dense, mask, statistic_of(inputs))
    after = [error(dense[[i]], weight[[i]], inputs) for i in range(len(dense))]
    assert torch.isfinite(weight).all()
    assert not weight[mask].any()
    assert all(a <= b * (1 + 1e-4) + 1e-6 for a, b in zip(after, before, strict=True))


def test_half_precision_is_solved_in_float32_and_rounded_once():
    dense, inputs, _ = problem(1)
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    wide, half = dense.bfloat16().float(), dense.bfloat16()
    solver = LeastSquaresSolver(LeastSquares())
    one, other = wide.masked_fill(mask, 0), half.masked_fill(mask, 0)
    solver.solve(one, wide, mask, statistic_of(inputs))
    solver.solve(other, half, mask, statistic_of(inputs))
    assert torch.equal(other, one.bfloat16())


def test_a_matrix_of_which_nothing_went_stays_to_the_bit():
    dense, inputs, _ = problem(2)
    weight = dense.clone()
    LeastSquaresSolver(LeastSquares()).solve(
        weight, dense, torch.zeros_like(dense, dtype=torch.bool), statistic_of(inputs)
    )
    assert torch.equal(weight, dense)
