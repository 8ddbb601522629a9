"""Caches that blocks are handed: empty ones are left out, others are handed on in copies."""

import torch
from transformers import Qwen3_5TextConfig
from transformers.cache_utils import DynamicCache

from workers.pruning.models.layout.forwards import with_own_cache


def test_an_empty_cache_is_left_out():
    args, kwargs = with_own_cache((1, DynamicCache()), {"past_key_values": DynamicCache()})
    assert args == (1, None)
    assert kwargs == {"past_key_values": None}


def test_a_cache_with_a_prompt_stays_as_it_was_however_often_a_block_is_called():
    cache = DynamicCache()
    states = torch.ones(1, 2, 3, 4)
    cache.update(states, states, 0)
    for _ in range(2):
        _, kwargs = with_own_cache((), {"past_key_values": cache})
        mine = kwargs["past_key_values"]
        assert mine.get_seq_length() == 3
        mine.update(states, states, 0)
        mine.layers[0].keys.zero_()
        assert mine.get_seq_length() == 6
    assert cache.get_seq_length() == 3
    assert torch.equal(cache.layers[0].keys, states)


def test_states_of_linear_attention_are_copied_too():
    cache = DynamicCache(config=qwen())
    cache.update_recurrent_state(torch.ones(1, 2, 3, 3), 0)
    _, kwargs = with_own_cache((), {"cache_params": cache})
    mine = kwargs["cache_params"].layers[0].recurrent_states[0]
    mine.zero_()
    assert torch.equal(cache.layers[0].recurrent_states[0], torch.ones(1, 2, 3, 3))


def qwen():
    return Qwen3_5TextConfig(
        num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]
    )
