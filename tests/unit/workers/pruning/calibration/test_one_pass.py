"""Batches that wait inside a block show what many passes show, or are given up."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from workers.pruning.calibration.one_pass import OnePass, OutOfStepError, Turns
from workers.pruning.calibration.statistics import Calibration, SquareSum
from workers.pruning.calibration.walk import Step


class Block(nn.Module):
    """Two layers, called in an order that the input's first value tells."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, hidden):
        match int(hidden.flatten()[0]):
            case 0:
                return self.c(self.b(self.a(hidden)))
            case 1:  # the second layer is left out
                return self.c(self.a(hidden))
            case 2:  # the first one comes again
                return self.a(self.c(self.b(self.a(hidden))))
            case _:  # the first one comes late
                return self.a(self.b(hidden))


class Pass:
    def __init__(self, kind):
        self.hidden = torch.arange(8.0).reshape(2, 4) + 1
        self.hidden[0, 0] = kind
        self.output = None

    def inputs(self, _index):
        return (self.hidden,), {}

    def mask_of(self, _seen):
        return None

    def advance(self, _index, output):
        self.output = output

    def rest(self):
        pass


@pytest.fixture
def world():
    module = Block()
    layers = {name: getattr(module, name) for name in "abc"}
    matrices = {
        name: SimpleNamespace(name=name, callers=(layer,)) for name, layer in layers.items()
    }

    def make(*kinds):
        return Step(SimpleNamespace(module=module), 0, [(Pass(kind), 2) for kind in kinds])

    return module, [(layer,) for layer in layers.values()], list(matrices.values()), make


def shown(step, matrices, collect, module):
    """Sums of squares of every layer's inputs, while each is halved once they are known."""
    found = {}
    with torch.no_grad():
        for number, matrix in enumerate(matrices):
            calibration = Calibration(SquareSum)
            collect(step, calibration, number, matrix)
            sums = calibration.of(matrix)
            found[matrix.name] = None if sums is None else (sums.total.clone(), sums.samples)
            matrix.callers[0].weight.mul_(0.5)
        for matrix in matrices:
            matrix.callers[0].weight.mul_(2)
    return found


def by_many(step, calibration, _number, matrix):
    step.collect(calibration, [matrix])


@pytest.mark.parametrize("kinds", [(0,), (0, 0), (0, 1, 0), (1, 0), (1, 1)])
def test_turns_show_what_many_passes_show(world, kinds):
    module, groups, matrices, make = world
    many = shown(make(*kinds), matrices, by_many, module)
    step = make(*kinds)
    turns = Turns(step, groups, fits=True)
    found = shown(step, matrices, lambda _, c, number, m: turns.collect(c, number, [m]), module)
    turns.close()
    assert found.keys() == many.keys()
    for name, sums in many.items():
        if sums is None:
            assert found[name] is None
        else:
            assert torch.equal(found[name][0], sums[0])
            assert found[name][1] == sums[1]


@pytest.mark.parametrize("kinds", [(0, 2), (0, 0, 3), (3, 0)])
def test_what_asks_after_its_turn_is_given_up_without_harm(world, kinds):
    module, groups, matrices, make = world
    step = make(*kinds)
    turns = Turns(step, groups, fits=True)
    found = shown(step, matrices, lambda _, c, number, m: turns.collect(c, number, [m]), module)
    turns.end()
    turns.close()
    assert all(sums is not None for sums in found.values())
    assert not step.advanced
    assert "forward" not in vars(module.a)


def test_the_pass_ends_with_what_the_block_gives(world):
    module, groups, matrices, make = world
    step = make(0, 1)
    turns = Turns(step, groups, fits=True)
    with torch.no_grad():
        for number, matrix in enumerate(matrices):
            turns.collect(Calibration(SquareSum), number, [matrix])
        module.c.weight.mul_(0.5)
        turns.end()
        turns.close()
        assert step.advanced
        for each, _ in step.passes:
            assert torch.equal(each.output, module(each.hidden))
    assert "forward" not in vars(module.a)


def test_a_layer_that_comes_again_after_its_turn_is_out_of_step(world):
    _, groups, _, make = world
    step = make(0, 2)
    one = OnePass(step, groups)
    with torch.no_grad():
        for number in range(3):
            one.collect(Calibration(SquareSum), number)
        with pytest.raises(OutOfStepError):
            one.advance()
    one.close()
    assert not step.advanced


@pytest.mark.parametrize("fits", [True, False])
def test_without_room_or_where_inputs_are_not_one_it_goes_by_many(world, fits):
    _, groups, matrices, make = world
    turns = Turns(make(0), [*groups[:2], None] if fits else groups, fits=fits)
    assert turns._pass is None
    calibration = Calibration(SquareSum)
    turns.collect(calibration, 0, matrices[:1])
    assert calibration.of(matrices[0]).samples == 2
