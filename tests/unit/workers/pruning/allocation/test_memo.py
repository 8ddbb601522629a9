"""Which recorded outputs stand in for a module."""

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from workers.pruning.allocation.ecoflap.memo import Memo


class Features(nn.Module):
    def forward(self, x):
        return BaseModelOutputWithPooling(last_hidden_state=x + 1, pooler_output=x.sum())


@pytest.fixture
def recorded():
    """A memo of one call, the module, its argument and its output."""
    memo, module, x = Memo(), Features(), torch.ones(2)
    with memo.recording([module]):
        output = module(x)
    return memo, module, x, output


def test_equal_arguments_get_the_recorded_output(recorded):
    memo, module, x, output = recorded
    assert memo.find(module, (x.clone(),), {}) == (True, output)
    assert memo.find(module, (x + 1,), {}) == (False, None)


def test_an_output_that_the_model_has_added_to_in_place_does_not_stand_in(recorded):
    memo, module, x, output = recorded
    output.last_hidden_state += 1
    assert memo.find(module, (x,), {}) == (False, None)


def test_an_output_with_another_entry_does_not_stand_in(recorded):
    memo, module, x, output = recorded
    output.pooler_output = output.pooler_output.clone()
    assert memo.find(module, (x,), {}) == (False, None)
