"""Block influence against hidden states that transformers hands out."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from workers.pruning.routing.answers import Answered
from workers.pruning.routing.prior import as_logits, block_influence
from workers.pruning.routing.runtime import anatomy


def with_padding(batch):
    """The first row's last two tokens are padding."""
    mask = batch.inputs["attention_mask"].clone()
    mask[0, -2:] = 0
    return Answered(
        batch.places, {**batch.inputs, "attention_mask": mask}, batch.length, batch.answers
    )


def test_it_is_one_less_the_mean_cosine_over_real_tokens(adapter, answered):
    batches = [with_padding(batch) for batch in answered[:2]]
    with torch.no_grad():
        found = block_influence(adapter, batches)
        cosines = [[] for _ in found]
        for batch in batches:
            states = adapter.call(batch.inputs, output_hidden_states=True).hidden_states
            real = batch.inputs["attention_mask"].bool()
            for layer, (before, after) in enumerate(pairwise(states[:-1])):
                cosine = functional.cosine_similarity(before.double(), after.double(), dim=-1)
                cosines[layer].append(cosine[real])
    for layer, each in enumerate(cosines[:-1]):  # the last state is behind the final norm
        assert float(found[layer]) == pytest.approx(1 - float(torch.cat(each).mean()), abs=1e-6)


def test_no_hook_stays(adapter, answered):
    class StopError(Exception):
        pass

    def breaking():
        yield answered[0]
        raise StopError

    layers = anatomy(adapter.model).layers
    before = [dict(layer._forward_hooks) for layer in layers]
    with torch.no_grad(), pytest.raises(StopError):
        block_influence(adapter, breaking())
    assert [dict(layer._forward_hooks) for layer in layers] == before


def test_the_last_layer_is_on_top_of_the_prior():
    logits = as_logits(torch.tensor([0.9, 0.1, 0.2, 0.01], dtype=torch.float64))
    assert logits[-1] == logits.max()
    assert logits[:3].argsort().tolist() == [1, 2, 0]
    assert as_logits(torch.zeros(3)).tolist() == [0, 0, 0]
