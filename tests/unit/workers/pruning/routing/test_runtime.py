"""The physical runtime against a masked reference, on every family."""

import pytest
import torch
from torch.nn.functional import pad

from tests.unit.workers.pruning.routing.subjects import (
    DROPPING,
    FAMILIES,
    NEWER,
    Recorder,
    fixed,
    masked,
    model_of,
    never_said,
    prompts,
)
from workers.pruning.routing.runtime import par

ALL = tuple(range(6))


def decide_of(name, layers=(0, 1, 2, 3, 5)):
    return Recorder(fixed(0.5 if name in DROPPING + NEWER else 1.0, layers))


@pytest.mark.parametrize("drop_layer", [2, 1, 0])
@pytest.mark.parametrize("name", FAMILIES + NEWER)
@torch.no_grad()
def test_equals_the_masked_reference(name, drop_layer):
    model, inputs, decide = model_of(name), prompts(name), decide_of(name)
    dense = model(**inputs).logits
    with par(model, decide, drop_layer):
        physical = model(**inputs).logits
    left = decide.left()
    with masked(model, left, (0, 1, 2, 3, 5), drop_layer):
        reference = model(**inputs, use_cache=False).logits
    assert physical.shape == reference.shape
    torch.testing.assert_close(physical[left], reference[left], atol=1e-5, rtol=0)
    assert (physical[left] - dense[left]).abs().max() > 1e-2


@pytest.mark.parametrize("name", FAMILIES + NEWER)
@torch.no_grad()
def test_keeping_everything_is_dense_bit_for_bit(name):
    model, inputs = model_of(name), prompts(name)
    dense = model(**inputs).logits
    with par(model, fixed(1.0, ALL)):
        assert torch.equal(model(**inputs).logits, dense)


BATCHES = {
    "one row": ((3, 5),),
    "several images": ((2, 3, 4), (1, 2, 9)),
    "rows of one and of two images": ((2, 3, 4), (2, 7)),
    "an image and two, as long as each other": ((2, 30), (2, 14, 0)),
    "a row without an image": ((2, 6), (9,)),
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("texts", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("drop_layer", [2, 0])
@torch.no_grad()
def test_batches_of_every_kind(texts, side, drop_layer):
    model, inputs, decide = (
        model_of("llava"),
        prompts("llava", texts, side=side),
        decide_of("llava"),
    )
    with par(model, decide, drop_layer):
        physical = model(**inputs).logits
    left = decide.left()
    with masked(model, left, (0, 1, 2, 3, 5), drop_layer):
        reference = model(**inputs, use_cache=False).logits
    torch.testing.assert_close(physical[left], reference[left], atol=1e-5, rtol=0)


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("name", FAMILIES + NEWER)
@torch.no_grad()
def test_greedy_answers_are_the_masked_references(name, drop_layer):
    model, inputs, decide = model_of(name), prompts(name), decide_of(name)
    with par(model, decide, drop_layer):
        cached = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert len(decide.calls) == 1
    length = inputs["input_ids"].shape[1]
    answer = cached[:, -6:]
    expected = answer_of_reference(model, inputs, decide, drop_layer)
    assert answer.tolist() == expected.tolist()
    assert cached.shape[1] in {6, length + 6}


def answer_of_reference(model, inputs, decide, drop_layer):
    """Greedy tokens of the masked model, without a cache."""
    inputs, left = dict(inputs), decide.left()
    for _ in range(6):
        # `generate` numbers positions from the mask, a plain forward does not.
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        extra = {} if "mm_token_type_ids" in inputs else {"position_ids": positions}
        with masked(model, left, (0, 1, 2, 3, 5), drop_layer):
            logits = model(**inputs, **extra, use_cache=False).logits[:, -1]
        logits[:, never_said(model)] = -torch.inf
        inputs["input_ids"] = torch.cat([inputs["input_ids"], logits.argmax(-1, True)], 1)
        inputs["attention_mask"] = pad(inputs["attention_mask"], (0, 1), value=1)
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = pad(inputs["mm_token_type_ids"], (0, 1))
    return inputs["input_ids"][:, -6:]
