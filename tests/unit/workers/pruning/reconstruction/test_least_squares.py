"""The weights that stay are those that least squares give, whatever chose them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.recipes.pattern import NM, Unstructured
from app.recipes.reconstruction import LeastSquares
from workers.pruning.calibration.beside import HeldOut, PairedMoments
from workers.pruning.calibration.statistics import Hessian
from workers.pruning.memory import Memory
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


def solve(settings, weight, dense, mask, statistic):
    solver = LeastSquaresSolver(settings)
    target = solver.target(dense, statistic).values
    return solver.solve(weight, target, mask, statistic)


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
    settings = LeastSquares(damping=0, steps=500)
    solution = solve(settings, weight, dense, mask, statistic_of(inputs))
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
    settings = LeastSquares(damping=damping, steps=steps)
    solve(settings, weight, dense, mask, statistic_of(inputs))
    after = [error(dense[[i]], weight[[i]], inputs) for i in range(len(dense))]
    assert torch.isfinite(weight).all()
    assert not weight[mask].any()
    assert all(a <= b * (1 + 1e-4) + 1e-6 for a, b in zip(after, before, strict=True))


def test_weights_of_inputs_that_are_always_zero_stay_as_they_are():
    dense, inputs, _ = problem(3)
    inputs[:, [3, 7]] = 0
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    weight = dense.masked_fill(mask, 0)
    solve(LeastSquares(), weight, dense, mask, statistic_of(inputs))
    assert torch.equal(weight == 0, mask)
    assert torch.equal(weight[:, [3, 7]], dense.masked_fill(mask, 0)[:, [3, 7]])


@pytest.mark.parametrize("seed", range(20))
def test_an_error_that_is_nearly_zero_is_not_below_it(seed):
    dense, inputs, _ = problem(seed, tokens=2)  # two weights would do for each output
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    weight = dense.masked_fill(mask, 0)
    found = solve(LeastSquares(damping=0, steps=200), weight, dense, mask, statistic_of(inputs))
    assert 0 <= found.error < 0.01 * found.energy


def test_half_precision_is_solved_in_float32_and_rounded_once():
    dense, inputs, _ = problem(1)
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    wide, half = dense.bfloat16().float(), dense.bfloat16()
    one, other = wide.masked_fill(mask, 0), half.masked_fill(mask, 0)
    solve(LeastSquares(), one, wide, mask, statistic_of(inputs))
    solve(LeastSquares(), other, half, mask, statistic_of(inputs))
    assert torch.equal(other, one.bfloat16())


def test_a_matrix_of_which_nothing_went_stays_to_the_bit():
    dense, inputs, _ = problem(2)
    weight = dense.clone()
    mask = torch.zeros_like(dense, dtype=torch.bool)
    solve(LeastSquares(), weight, dense, mask, statistic_of(inputs))
    assert torch.equal(weight, dense)


def paired(pruned, dense, batches=1, held=()):
    """The moments of both models' inputs, given in so many batches."""
    found = PairedMoments(pruned.shape[1], pruned.device)
    for number, (left, right) in enumerate(
        zip(pruned.chunk(batches), dense.chunk(batches), strict=True)
    ):
        found.add_pair(left, right, 1)
        if number in held:
            found.held.append(HeldOut((left, right), 1, Memory()))
    return found


def moved(inputs, draw, by):
    """What earlier blocks would make of inputs."""
    columns = inputs.shape[1]
    return inputs @ (torch.eye(columns) + by * torch.randn(columns, columns, generator=draw))


def test_towards_the_dense_model_it_finds_what_solving_on_both_inputs_does():
    dense, inputs, draw = problem(3)
    pruned = moved(inputs, draw, 0.1)
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    weight = dense.masked_fill(mask, 0)
    solver = LeastSquaresSolver(LeastSquares(objective="dense-inputs", damping=1e-6, steps=1000))
    statistic = paired(pruned, inputs)
    target, share, _ = solver.target(dense, statistic)
    solver.solve(weight, target, mask, statistic)
    wanted = inputs.double() @ dense.double().T
    best = 0.0
    for row, gone in enumerate(mask):
        kept = pruned.double()[:, ~gone]
        solution = torch.linalg.lstsq(kept, wanted[:, row, None]).solution
        best += float((wanted[:, row, None] - kept @ solution).square().sum())
    found = float((wanted - pruned.double() @ weight.double().T).square().sum())
    assert share == 1
    assert found == pytest.approx(best, rel=1e-2)


def test_weights_that_float16_cannot_hold_are_cut():
    dense, inputs, _ = problem(5)
    pruned = inputs.clone()
    pruned[:, :4] *= 1e-7  # what is all but gone would have to be brought back by huge weights
    mask = Selection(Unstructured(), dense.numel() // 2).mask(dense.abs())
    weight = dense.half().masked_fill(mask, 0)
    solver = LeastSquaresSolver(LeastSquares(objective="dense-inputs"))
    statistic = paired(pruned, inputs)
    target = solver.target(dense, statistic).values
    found = solver.solve(weight, target, mask, statistic)
    assert torch.isfinite(weight).all()
    assert 0 < found.error < found.energy


def test_the_mixture_is_the_best_on_what_was_held_out():
    dense, inputs, draw = problem(4, columns=110, tokens=160)
    inputs = torch.randn(inputs.shape, generator=draw)
    pruned = inputs + torch.randn(inputs.shape, generator=draw)
    statistic = paired(pruned, inputs, batches=4, held=(3,))
    settings = LeastSquares(objective="mixed", damping=0.02)
    share = LeastSquaresSolver(settings).target(dense, statistic).dense_share
    seen = paired(pruned[:120], inputs[:120])
    towards = LeastSquaresSolver(settings.model_copy(update={"objective": "dense-inputs"}))
    problem_seen = towards.problem(seen)
    goal = problem_seen.unscaled(towards.target(dense, seen).values, dense)

    def missed(at):
        weight = dense + at * (goal - dense)
        return float((inputs[120:] @ dense.T - pruned[120:] @ weight.T).square().sum())

    least = min(range(101), key=lambda hundredth: missed(hundredth / 100)) / 100
    assert share == pytest.approx(least, abs=0.011)
    assert 0 < share < 1


@pytest.mark.parametrize("unknown", ["nothing held out", "a token without its partner"])
def test_what_is_not_known_of_the_dense_model_is_not_mixed_in(unknown):
    dense, inputs, draw = problem(5)
    statistic = paired(moved(inputs, draw, 0.1), inputs)
    statistic.paired = unknown == "nothing held out"
    solver = LeastSquaresSolver(LeastSquares(objective="mixed"))
    target, share, _ = solver.target(dense, statistic)
    assert share == 0
    assert torch.equal(target, solver.problem(statistic).scaled(dense))


def test_of_several_dampings_the_best_on_what_was_held_out_is_taken():
    dense, inputs, draw = problem(4, columns=110, tokens=160)
    inputs = torch.randn(inputs.shape, generator=draw)
    pruned = inputs + torch.randn(inputs.shape, generator=draw)
    statistic = paired(pruned, inputs, batches=4, held=(3,))
    goal = (inputs[120:] @ dense.T).double()

    def missed(*tried, damping):
        settings = LeastSquares(objective="mixed", damping=damping, target_dampings=tried)
        target = LeastSquaresSolver(settings).target(dense, statistic)
        seen = paired(pruned[:120], inputs[:120])
        alone = LeastSquaresSolver(
            LeastSquares(objective="dense-inputs", damping=target.damping or damping)
        )
        towards = alone.problem(seen).unscaled(alone.target(dense, seen).values, dense)
        weight = dense + target.dense_share * (towards - dense)
        return float((goal - pruned[120:].double() @ weight.T.double()).square().sum()), target

    single = {damping: missed(damping=damping)[0] for damping in (0.02, 0.005, 1.0)}
    found, target = missed(0.005, 1.0, damping=0.02)
    assert found == pytest.approx(min(single.values()), rel=1e-4)
    assert target.damping == min(single, key=lambda damping: single[damping])
    assert missed(damping=0.02)[1].damping is None
