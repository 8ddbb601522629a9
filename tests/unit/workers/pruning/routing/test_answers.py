"""Dense answers and the distance from them."""

import pytest
import torch

from tests.families import records
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.prompts import encode_prompt
from workers.pruning.routing.answers import Closeness, answer, closeness, joined, log_probs


def test_every_record_comes_once_with_its_prompt_before_the_answer(adapter, answered):
    assert sorted(place for batch in answered for place in batch.places) == list(range(9))
    asked = records("pair", 9)
    for batch in answered:
        for row, place in enumerate(batch.places):
            prompt = encode_prompt(adapter, asked[place], 64)["input_ids"][0]
            ids = batch.inputs["input_ids"][row]
            assert torch.equal(ids[: batch.length], prompt)
            assert torch.equal(ids[batch.length :], batch.answers[row])
        assert set(batch.inputs["attention_mask"].unique().tolist()) == {1}


def test_teacher_forcing_repeats_the_greedy_answer(adapter, answered):
    for batch in answered:
        with torch.no_grad():
            dense = log_probs(adapter, batch)
        suppressed = adapter.model.generation_config.suppress_tokens
        dense[..., suppressed] = -torch.inf
        assert torch.equal(dense.argmax(-1), batch.answers)


def test_the_model_is_as_near_as_can_be_to_itself(adapter, answered):
    with torch.no_grad():
        dense = log_probs(adapter, answered[0])
    near = closeness(dense, dense, dense.argmax(-1))
    assert near.kl.tolist() == [0] * len(dense)
    assert near.agreement.tolist() == [1] * len(dense)
    assert near.exact.all()


def test_what_stands_behind_an_answers_end_does_not_count(adapter):
    dense, other = torch.randn(2, 2, 3, 7, generator=torch.Generator().manual_seed(0))
    answers = dense.argmax(-1)
    answers[1, 1:] = IGNORED_LABEL
    other[1, 0] = dense[1, 0]
    near = closeness(dense.log_softmax(-1), other.log_softmax(-1), answers)
    p, q = dense[0].softmax(-1).double(), other[0].softmax(-1).double()
    assert near.kl[0] == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), rel=1e-5)
    assert (near.kl[1], near.agreement[1], bool(near.exact[1])) == (0, 1, True)


def test_answers_end_with_the_end_token(adapter):
    settings = adapter.model.generation_config

    def said():
        with torch.no_grad():
            made = answer(adapter, records("pair", 1), batch_size=1, max_length=64, answer_tokens=4)
            return next(made).answers[0].tolist()

    free = said()
    settings.eos_token_id = free[1]
    try:
        assert said() == free[: free.index(free[1]) + 1]
    finally:
        settings.eos_token_id = None


def test_batches_are_put_back_into_the_records_order():
    def column(*values):
        return torch.tensor(values)

    batches = [
        ((2, 0), [column(0.2, 0.0), column(0.5, 1.0), column(False, True)]),
        ((1,), [column(0.1), column(0.75), column(True)]),
    ]
    found = joined((places, Closeness(*columns)) for places, columns in batches)
    assert found.kl.tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert found.exact.tolist() == [1, 1, 0]
