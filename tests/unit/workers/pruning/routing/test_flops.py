"""Counted operations: shapes alone against real forwards, and the budget solver."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from tests.unit.workers.pruning.routing.subjects import FAMILIES, LAYERS, fixed, model_of, prompts
from workers.pruning.routing.flops import Costs, Prompt, count, solve
from workers.pruning.routing.runtime import FullRouter, ParError, SlimRouter, anatomy, decide, par

TEXT_MODEL = {"instructblip": "language_model.model.decoder", "idefics3": "model.text_model"}
TEXT_MODEL["smolvlm"] = TEXT_MODEL["idefics3"]


def test_attention_on_the_processor_counts():
    query = torch.zeros(2, 3, 7, 8)
    counted = count(lambda: scaled_dot_product_attention(query, query, query))
    assert counted["Global"] == 2 * 2 * (2 * 3 * 7 * 7 * 8)


@pytest.mark.parametrize("kind", ["slim", "full"])
@pytest.mark.parametrize("drop_layer", [0, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_alone_tell_what_a_real_forward_does(name, drop_layer, kind):
    model, subject = model_of(name), anatomy(model_of(name))
    slim = SlimRouter(subject.hidden_size, LAYERS)
    router = slim if kind == "slim" else FullRouter(subject)
    inputs = prompts(name, ((3, 5),))
    vision = 0

    def decided(embeddings, segments):
        nonlocal vision
        vision = int((segments == 1).sum())
        tokens = vision // 2 if subject.prunes_tokens else vision
        return decide(router(embeddings, segments), segments, tokens=tokens, layers=5)

    with par(model, decided, drop_layer):
        counted = count(lambda: model(**inputs))
    text = TEXT_MODEL.get(name, "model.language_model")
    real = counted[f"{type(model).__name__}.{text}"]
    costs = Costs(subject, router, Prompt(inputs["input_ids"].shape[1] - vision, vision))
    tokens = vision // 2 if subject.prunes_tokens else vision
    assert costs.pruned(tokens, 5, drop_layer) == real
    dense = count(lambda: model(**inputs))[f"{type(model).__name__}.{text}"]
    assert costs.dense() == dense


@pytest.mark.parametrize("drop_layer", [0, 2])
@torch.no_grad()
def test_cached_positions_are_those_of_a_real_cache(drop_layer):
    model, inputs = model_of("llava"), prompts("llava", ((3, 5),))
    vision = int((inputs["input_ids"] == anatomy(model).vision_ids[0]).sum())
    with par(model, fixed(0.5, (0, 1, 2, 3, 5)), drop_layer):
        cache = model(**inputs, use_cache=True).past_key_values
    cached = sum(layer.get_seq_length() for layer in cache.layers)
    length = inputs["input_ids"].shape[1]
    costs = Costs(anatomy(model), None, Prompt(length - vision, vision))
    assert costs.cached(vision // 2, 5, drop_layer) == cached / (LAYERS * length)


@pytest.fixture(scope="module")
def costs():
    return Costs(anatomy(model_of("llava")), None, Prompt(20, 64))


@settings(deadline=None, max_examples=12)  # each new length is counted once
@given(target=st.floats(0.3, 1.1))
def test_the_budget_fits_and_wastes_nothing(costs, target):
    try:
        budget = solve(costs, target)
    except ParError:
        assert costs.ratio(1, LAYERS - 2) > target
        return
    tokens = round(budget.tokens * 64)
    assert costs.ratio(tokens, budget.layers) <= target
    assert tokens == 64 or costs.ratio(tokens + 1, budget.layers) > target


def test_cheaper_targets_take_fewer_tokens_and_layers(costs):
    dear, cheap = solve(costs, 1.0), solve(costs, costs.ratio(14, 4))
    assert (dear.tokens, dear.layers) == (1.0, 6)
    assert cheap.tokens < 0.5
    assert cheap.layers < 6


def test_a_target_out_of_reach_is_refused_with_the_least(costs):
    least = costs.ratio(1, LAYERS - 2)
    with pytest.raises(ParError, match=f"1 image tokens and 4 layers, costs {least:.3f}"):
        solve(costs, least - 0.01)


def test_layers_alone_where_tokens_stay():
    subject = anatomy(model_of("instructblip"))
    costs = Costs(subject, None, Prompt(10, 4))
    budget = solve(costs, 0.9, prunes_tokens=False)
    assert (budget.tokens, budget.layers) == (1.0, 5)
    with pytest.raises(ParError, match="4 image tokens and 4 layers"):
        solve(costs, 0.5, prunes_tokens=False)
