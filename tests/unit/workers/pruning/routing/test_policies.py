"""What a router is compared with, at exactly its budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.pruning.routing.policies import Rules, deciding, even_policy, random_policy
from workers.pruning.routing.runtime import TEXT, VISION, Profile, Scores, layer_candidates


def segments(rows, text, vision):
    return torch.tensor([[TEXT] + [VISION] * vision + [TEXT] * text] * rows)


def rules(tokens, layers, of=12, floor=0.0):
    return Rules(Profile(tokens, layers, 2), layer_candidates(of, 2), floor)


@settings(deadline=None)  # the machine may be busy
@given(
    vision=st.integers(1, 40),
    share=st.floats(0.05, 1),
    skips=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_every_baseline_keeps_exactly_the_budget(vision, share, skips, seed):
    found, parts = rules(share, 12 - skips), segments(2, 3, vision)
    kept = min(vision, max(1, round(vision * share)))
    for policy in (random_policy(12, seed), even_policy(found), even_policy(found, torch.rand(12))):
        decision = found.decide(policy(torch.zeros(2, 1, 1), parts), parts)
        assert len(decision.layers) == 12 - skips
        assert {0, 1, 2, 11} <= set(decision.layers)
        if decision.keep is None:
            assert kept == vision
        else:
            assert decision.keep.shape == (2, kept)


def test_even_tokens_and_layers_are_even():
    found, parts = rules(0.25, 10), segments(1, 2, 16)
    decision = found.decide(even_policy(found)(torch.zeros(1, 1, 1), parts), parts)
    assert decision.keep.diff().tolist() == [[4, 4, 4]]
    assert sorted(set(range(12)) - set(decision.layers)) == [8, 10]


def test_the_prior_skips_what_turns_its_input_least():
    prior = torch.ones(12)
    prior[[7, 9]] = 0
    found, parts = rules(1.0, 10), segments(1, 2, 16)
    decision = found.decide(even_policy(found, prior)(torch.zeros(1, 1, 1), parts), parts)
    assert sorted(set(range(12)) - set(decision.layers)) == [7, 9]


def test_random_decisions_differ_by_seed_and_repeat_under_one():
    found, parts = rules(0.25, 10), segments(1, 2, 16)

    def keep(seed):
        return found.decide(random_policy(12, seed)(torch.zeros(1), parts), parts).keep.tolist()

    assert keep(1) == keep(1) != keep(2)


@pytest.mark.parametrize("length", [6, None])
def test_answers_are_not_shown_to_a_policy(length):
    shown = []

    def policy(embeddings, parts):
        shown.append((embeddings.shape[1], parts.shape[1]))
        return Scores(torch.zeros(parts.shape), torch.zeros(len(parts), 12))

    deciding(policy, rules(0.5, 12), length)(torch.zeros(1, 9, 4), segments(1, 4, 4))
    assert shown == [(length or 9, length or 9)]
