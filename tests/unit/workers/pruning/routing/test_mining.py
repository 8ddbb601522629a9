"""Candidates through the physical runtime, and the pairs that come of them."""

import pytest
import torch

from app.recipes.routing import Routing, TokensAndLayers
from workers.pruning.routing import mining
from workers.pruning.routing.learning import new_router
from workers.pruning.routing.mining import Search, mine
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import VISION, Profile, layer_candidates

ROUTING = Routing(budget=TokensAndLayers(tokens=0.5, layers=5))
SEARCH = Search(candidates=6, noise=1.0)


def mined(adapter, answered, rules, seed=0, number=0):
    generator = torch.Generator().manual_seed(seed)
    router = new_router(adapter, ROUTING)
    with torch.no_grad():
        return list(
            mine(
                adapter,
                router,
                answered,
                rules=rules,
                search=SEARCH,
                generator=generator,
                number=number,
            )
        )


def test_tokens_alone_then_layers_alone_then_both(adapter, answered, rules):
    six = [answered[0]] * 3
    tokens, layers, both = (batch.pairs for batch in mined(adapter, six, rules))
    assert tokens.run.all()
    assert (tokens.kept[0] != tokens.kept[1]).any(-1)[tokens.gaps > 0].all()
    assert torch.equal(layers.kept[0], layers.kept[1])
    assert torch.equal(layers.kept[0, 0], layers.segments == VISION)
    for pairs in (layers, both):
        assert (pairs.run.sum(-1) == 5).all()
        assert pairs.run[..., [0, 1, 2, 5]].all()


def test_every_round_mines_a_batch_in_another_way(adapter, answered, rules):
    ways = set()
    for number in range(3):
        pairs = mined(adapter, answered[:1], rules, number=number)[0].pairs
        ways.add((bool(pairs.run.all()), torch.equal(*pairs.kept)))
    assert ways == {(True, False), (False, True), (False, False)}


def test_tokens_are_searched_at_the_budget_its_half_and_its_quarter(adapter, answered, rules):
    for pairs in (batch.pairs for batch in mined(adapter, [answered[0]] * 3, rules)):
        counts = (pairs.segments == VISION).sum(1)
        if len(pairs.gaps) > 3:
            # Of six candidates three pairs, of three at each tighter budget one.
            shares = (0.5, 0.5, 0.5, 0.25, 0.125)
            wanted = [(counts * share).round().long() for share in shares]
            assert torch.equal(pairs.kept.sum(-1), torch.stack(wanted).expand(2, -1, -1))
            for wider, narrower in ((0, 3), (3, 4)):  # within the best set of the level before
                assert not (pairs.kept[:, narrower] & ~pairs.kept[0, wider]).any()
        else:
            assert torch.equal(*pairs.kept)
            assert len(pairs.gaps) == 3


def test_the_better_decision_is_nearer_to_the_dense_answer(adapter, answered, rules):
    for batch in mined(adapter, answered, rules):
        assert (batch.best <= batch.worst).all()
        gaps = batch.pairs.gaps
        assert gaps.any(0).all()
        assert (gaps >= 0).all()
        assert (gaps[0] >= gaps[1]).all()  # the best with the worst, then the second of both
        assert (gaps[1] >= gaps[2]).all()
        assert len(batch.pairs) >= int((batch.worst - batch.best > 1e-4).sum())


def test_answers_that_are_lost_count_the_same_however_far(adapter, answered, rules, monkeypatch):
    (free,) = mined(adapter, answered[:1], rules)
    monkeypatch.setattr(mining, "_CLEAR", 1e-3)
    (bounded,) = mined(adapter, answered[:1], rules)
    assert free.pairs.gaps.max() > 1e-3
    assert torch.equal(bounded.pairs.gaps, free.pairs.gaps.clamp(max=1e-3))


def test_the_same_generator_finds_the_same_pairs(adapter, answered, rules):
    first, same, other = (mined(adapter, answered[:1], rules, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.pairs.kept, same.pairs.kept)
    assert torch.equal(first.best, same.best)
    assert not torch.equal(first.best, other.best)


def test_prompts_alone_are_stored(adapter, answered, rules):
    batch = mined(adapter, answered[:1], rules)[0]
    assert batch.pairs.embeddings.shape[1] == batch.pairs.segments.shape[1] == answered[0].length


@pytest.mark.parametrize(("tokens", "layers"), [(0.5, 6), (1.0, 5)])
def test_a_budget_of_one_kind_mines_that_kind_only(adapter, answered, tokens, layers):
    rules = Rules(Profile(tokens, layers, 2), layer_candidates(6, 2), 0.1)
    for batch in mined(adapter, answered, rules):
        assert bool(batch.pairs.run.all()) is (layers == 6)
        assert torch.equal(*batch.pairs.kept) is (tokens == 1)
