"""Statistics are those of plain hooks on the whole block, however often it calls a projection."""

import pytest
import torch
from torch import nn

from app.errors import NonFiniteError
from app.recipes.modality import Modality
from workers.pruning.calibration.statistics import Calibration, Hessian, SquareSum
from workers.pruning.models.layout.structure import Matrix


class Block(nn.Module):
    """Three projections; how they are called is the test's."""

    def __init__(self, calls):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.calls = calls
        self.ran = 0

    def forward(self, x):
        self.ran += 1
        return self.calls(self, x)


def once(m, x):
    return m.c(m.a(x) * m.b(x))


def shared(m, x):
    """The first projection runs again after all others."""
    return m.a(m.c(m.b(m.a(x)).tanh()))


def recurrent(m, x):
    for _ in range(3):
        x = m.c(m.b(m.a(x)).tanh()) + x
    return x


def as_often_as_the_data_say(m, x):
    x = m.c(m.b(m.a(x)))
    for _ in range(int(x.abs().sum() * 100) % 3):
        x = m.b(x)
    return x


def routed(m, x):
    """Every expert runs for the tokens of both of its slots."""
    x = m.a(x)
    for slot in range(2):
        chosen = (x.sum(-1) * 10).long().abs().add(slot) % 3
        for number, expert in enumerate(m.experts):
            if (chosen == number).any():
                out = torch.zeros_like(x)
                out[chosen == number] = expert(x[chosen == number])
                x = x + out
    return m.c(x)


def twice_the_same_input(m, x):
    return m.a(x) + m.a(x) + m.b(x) + m.c(x)


def by_keyword(m, x):
    return m.c(input=m.a(input=x) + m.b(input=x))


CALLS = [
    once,
    shared,
    recurrent,
    as_often_as_the_data_say,
    routed,
    twice_the_same_input,
    by_keyword,
]


@pytest.fixture
def prepared():
    def build(calls):
        torch.manual_seed(0)
        block = Block(calls)
        named = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
        matrices = [
            Matrix(name, name, Modality.LANGUAGE, module.weight, (module,))
            for name, module in named.items()
        ]
        batches = [torch.randn(2, 5, 4) for _ in range(6)]
        return block, matrices, batches

    return build


def hooked(block, matrices, batches):
    seen = {matrix.name: [] for matrix in matrices}

    def see(name):
        def hook(_module, args, kwargs):
            value = args[0] if args else kwargs["input"]
            seen[name].append(value.reshape(-1, 4))

        return hook

    handles = [
        m.callers[0].register_forward_pre_hook(see(m.name), with_kwargs=True) for m in matrices
    ]
    for x in batches:
        block(x)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(found).double() for name, found in seen.items() if found}


@pytest.mark.parametrize("spare", [True, False])
@pytest.mark.parametrize("statistic", [SquareSum, Hessian])
@pytest.mark.parametrize("calls", CALLS, ids=lambda f: f.__name__)
@torch.no_grad()
def test_all_calls_are_counted_once(prepared, calls, statistic, spare):
    block, matrices, batches = prepared(calls)
    expected = hooked(block, matrices, batches)
    matrices = [matrix for matrix in matrices if matrix.name in expected]
    calibration = Calibration(statistic)
    with calibration.watching(matrices, block):
        for x in batches:
            calibration.run(lambda x=x: block(x), len(x), lambda _: None, spare=spare)
    for matrix in matrices:
        found = calibration.of(matrix)
        inputs = expected[matrix.name]
        if statistic is Hessian:
            torch.testing.assert_close(
                found.total.triu(), (inputs.T @ inputs).triu(), rtol=1e-5, atol=1e-5
            )
        else:
            torch.testing.assert_close(found.total, inputs.square().sum(0), rtol=1e-5, atol=1e-5)
    assert calibration.of(matrices[0]).samples == 12


@torch.no_grad()
def test_the_last_product_is_spared_where_nothing_is_called_after_it(prepared):
    block, matrices, (x, *_) = prepared(once)
    matrices = matrices[:3]
    calibration = Calibration(SquareSum)
    with calibration.watching(matrices, block):
        output = calibration.run(lambda: block(x), 2, lambda _: None, spare=True)
        assert not output.any()
        assert block.ran == 1
    with calibration.watching(matrices, block):
        assert torch.equal(
            calibration.run(lambda: block(x), 2, lambda _: None, spare=False), block(x)
        )


@torch.no_grad()
def test_a_block_whose_product_is_read_is_run_again_once(prepared):
    block, matrices, batches = prepared(shared)
    matrices = matrices[:3]
    calibration = Calibration(SquareSum)
    with calibration.watching(matrices, block):
        for x in batches:
            calibration.run(lambda x=x: block(x), 2, lambda _: None, spare=True)
    assert block.ran == len(batches) + 1


@torch.no_grad()
def test_nothing_is_left_behind(prepared):
    block, matrices, (x, *_) = prepared(once)
    calibration = Calibration(SquareSum)
    with pytest.raises(RuntimeError), calibration.watching(matrices, block):
        calibration.run(lambda: block(x[..., :3]), 2, lambda _: None, spare=True)
    assert not any("forward" in vars(module) for module in block.modules())
    with calibration.watching(matrices, block):
        calibration.run(lambda: block(x * float("inf")), 2, lambda _: None, spare=True)
    with pytest.raises(NonFiniteError, match="inputs of a"):
        calibration.of(matrices[0])
