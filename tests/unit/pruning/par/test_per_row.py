"""Rows of a batch with layers of their own: an answer is what it is without the other rows."""

import pytest
import torch
from torch.nn.functional import pad

from tests.unit.pruning.par.subjects import DROPPING, FAMILIES, LAYERS, model_of, prompts
from tests.unit.pruning.par.test_attach import artifact_of
from workers.pruning.par import runtime
from workers.pruning.par.runtime import ParError, attach, par
from workers.pruning.par.runtime.rows import on_rows

TEXTS = ((3, 5), (2, 9), (6, 1), (4, 4))
CANDIDATES = (2, 3, 4)
ONE = torch.tensor([0])
ALONE = 1e-5  # largest difference of a logit between a row beside others, padded, and alone


def own_layers(name, layers=4, *, per_row=True):
    """Scores that depend on what a row shows and asks; every row skips layers of its own."""

    def decide(embeddings, segments):
        real = (segments != runtime.PADDING).unsqueeze(-1)
        tokens = (embeddings.double().sum(-1) * 997).sin()
        asked = (embeddings.double() * real).sum((1, 2), keepdim=True).squeeze(-1)
        scores = runtime.Scores(tokens, (asked * 97 * torch.arange(1, LAYERS + 1)).sin())
        counts = (segments == runtime.VISION).sum(1)
        share = 0.5 if name in DROPPING else 1.0
        return runtime.decide(
            scores,
            segments,
            tokens=runtime.token_budget(counts, share),
            layers=layers,
            candidates=CANDIDATES,
            per_row=per_row,
        )

    return decide


def alone(inputs, index):
    """One row of a batch with an image in every row, without its padding."""
    rows = len(inputs["input_ids"])
    row = {name: value.chunk(rows)[index] for name, value in inputs.items()}
    real = row["attention_mask"][0].bool()
    sequences = ("input_ids", "attention_mask", "mm_token_type_ids")
    return {name: v[:, real] if name in sequences else v for name, v in row.items()}


@torch.no_grad()
def logits(model, inputs, decide, drop_layer):
    """The last logits of every row."""
    with par(model, decide, drop_layer):
        return model(**inputs).logits[:, -1]


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_beside_others_is_the_row_alone(name, drop_layer):
    model, inputs, decide = model_of(name), prompts(name, TEXTS), own_layers(name)
    beside = logits(model, inputs, decide, drop_layer)
    rows = [logits(model, alone(inputs, row), decide, drop_layer) for row in range(len(TEXTS))]
    torch.testing.assert_close(beside, torch.cat(rows), atol=ALONE, rtol=0)
    shared = logits(model, inputs, own_layers(name, per_row=False), drop_layer)
    assert (shared - beside).abs().max() > 100 * ALONE, "one set for all is another answer"


HOW = {
    "greedy": {"do_sample": False},
    "uncached": {"do_sample": False, "use_cache": False},
    "beams": {"do_sample": False, "num_beams": 3},
}


WAYS = [(name, how) for name in FAMILIES for how in HOW]
WAYS.remove(("instructblip", "uncached"))  # it forgets the image without a cache, dense or pruned


@pytest.mark.parametrize(("name", "how"), WAYS)
def test_an_answer_beside_others_is_the_answer_alone(name, how):
    model, inputs, settings = model_of(name), prompts(name, TEXTS), HOW[how]
    with par(model, own_layers(name)):
        beside = model.generate(**inputs, **settings, max_new_tokens=5)[:, -5:]
        for row in range(len(TEXTS)):
            one = model.generate(**alone(inputs, row), **settings, max_new_tokens=5)[:, -5:]
            assert torch.equal(one[0], beside[row])


@pytest.mark.parametrize("drop_layer", [2, 0])
@pytest.mark.parametrize("words", [6, 60])
def test_a_row_without_an_image_runs_dense_and_changes_no_other(words, drop_layer):
    """Also where it is the longest, so that no position is free to leave the batch."""
    model, inputs, decide = model_of("llava"), prompts("llava", ((3, 5),)), own_layers("llava")
    text = torch.randint(20, 60, (1, words), generator=torch.Generator().manual_seed(3))
    length = max(words, inputs["input_ids"].shape[1])
    rows = [pad(each, (length - each.shape[1], 0)) for each in (inputs["input_ids"], text)]
    ids = torch.cat(rows)
    both = {**inputs, "input_ids": ids, "attention_mask": (ids != 0).long()}
    image, plain = logits(model, both, decide, drop_layer)
    expected = logits(model, inputs, decide, drop_layer)[0]
    torch.testing.assert_close(image, expected, atol=ALONE, rtol=0)
    with torch.no_grad():
        dense = model(input_ids=text).logits[0, -1]
    torch.testing.assert_close(plain, dense, atol=ALONE, rtol=0)


@torch.no_grad()
def test_the_cache_holds_every_row_of_every_layer_that_ran():
    model, inputs = model_of("llava"), prompts("llava", TEXTS)
    said = []

    def decide(*asked):
        said.append(own_layers("llava")(*asked))
        return said[-1]

    with par(model, decide):
        cache = model(**inputs, use_cache=True).past_key_values
    rows = said[0].rows
    assert rows.sum(1).tolist() == [4] * len(TEXTS)
    assert any(0 < count < len(TEXTS) for count in rows.sum(0).tolist())
    for index, layer in enumerate(cache.layers):
        ran = [bool(keys.any()) for keys in layer.keys] if layer.is_initialized else [False] * 4
        assert ran == rows[:, index].tolist()


def test_an_artifact_offers_it_and_changes_without_a_reload(tmp_path):
    model, inputs = model_of("llava"), prompts("llava", TEXTS)
    with attach(model, artifact_of("llava", tmp_path), per_row=True) as pruned:
        torch.nn.init.normal_(pruned._router.layer_head.weight, std=50)  # rows that differ
        beside = model.generate(**inputs, max_new_tokens=5)[:, -5:]
        rows = [model.generate(**alone(inputs, row), max_new_tokens=5)[:, -5:] for row in range(4)]
        assert torch.equal(beside, torch.cat(rows))
        pruned.per_row = False
        assert not torch.equal(model.generate(**inputs, max_new_tokens=5)[:, -5:], beside)
        rows = [model.generate(**alone(inputs, row), max_new_tokens=5)[:, -5:] for row in range(4)]
        assert torch.equal(beside, torch.cat(rows)), "alone, a batch's layers are the row's"


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        ((0, 1, 2), [[0, 1, 2], [1, 2]]),  # layer 0 not in every row
        ((0, 1, 2, 3), [[0, 1, 2], [0, 2]]),  # a layer of no row
        ((0, 1, 2), [[0, 1, 2], [0, 3]]),  # a row's layer is not among them
    ],
)
def test_rows_that_do_not_fit_their_layers_are_refused(layers, rows):
    runs = torch.tensor([[index in row for index in range(LAYERS)] for row in rows])
    model, inputs = model_of("llava"), prompts("llava")
    decision = runtime.Decision(None, layers, runs)
    with par(model, lambda *_: decision), torch.no_grad(), pytest.raises(ParError, match="any of"):
        model(**inputs)


def test_masks_that_are_no_tensors_are_refused_in_words():
    with pytest.raises(ParError, match="eager or SDPA"):
        on_rows(torch.nn.Identity(), torch.zeros(2, 3, 4), ONE, {"attention_mask": object()})
