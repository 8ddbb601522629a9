"""Stage two on made-up pairs; the large model is nowhere near."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from workers.pruning.routing import training
from workers.pruning.routing.pairs import Pairs, PairStore
from workers.pruning.routing.runtime import TEXT, VISION, SlimRouter
from workers.pruning.routing.training import Schedule, train

ROWS, WIDTH, LAYERS, VISIONS = 4, 32, 6, 8


def made(seed=0):
    """The better set keeps the image tokens whose first feature is large, and skips layer 3."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(ROWS, VISIONS + 3, WIDTH, generator=generator)
    segments = torch.tensor([[TEXT] + [VISION] * VISIONS + [TEXT] * 2] * ROWS)
    order = embeddings[..., 0].masked_fill(segments != VISION, -torch.inf).argsort(1)
    kept = torch.zeros(2, 1, ROWS, VISIONS + 3, dtype=torch.bool)
    kept[0, 0].scatter_(1, order[:, -4:], value=True)
    kept[1, 0].scatter_(1, order[:, 3:7], value=True)
    run = torch.ones(2, 1, ROWS, LAYERS, dtype=torch.bool)
    run[0, ..., 3], run[1, ..., 4] = False, False
    return Pairs(embeddings, segments, kept, run, torch.ones(1, ROWS))


def router(seed=0):
    torch.manual_seed(seed)
    return SlimRouter(WIDTH, LAYERS, width=16)


@pytest.fixture
def store(tmp_path):
    store = PairStore(tmp_path)
    for seed in range(6):
        store.add(made(seed=seed))
    return store


SCHEDULE = Schedule(epochs=8, learning_rate=3e-3, tokens=0.5, layers=5 / 6)


@settings(deadline=None)  # the machine may be busy
@given(seed=st.integers(0, 99), size=st.integers(1, 7))
def test_with_equal_budgets_the_log_ratio_is_a_difference_of_logits(seed, size):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    sets = torch.zeros(2, 1, 8, dtype=torch.bool)
    for each in sets:
        each[0, torch.randperm(8, generator=generator)[:size]] = True
    full = [
        (functional.logsigmoid(logits[0, s]).sum() + functional.logsigmoid(-logits[0, ~s]).sum())
        for s in sets[:, 0]
    ]
    apart = int((sets[0] & ~sets[1]).sum())
    found = float(training._difference(logits, sets))
    assert found * apart == pytest.approx(float(full[0] - full[1]), abs=1e-9)


def test_the_loss_at_the_start_is_what_the_formula_says():
    subject, pairs = router(), made()
    scores = subject(pairs.embeddings, pairs.segments)
    own, _ = training._margins(subject, pairs)
    found = training._loss(subject, pairs, own.detach(), SCHEDULE).item()
    vision = pairs.segments == VISION
    token = scores.tokens.sigmoid()[vision].view(4, VISIONS)
    layer = scores.layers.sigmoid()
    wanted = -torch.tensor(0.5).log()
    wanted += ((token.mean(1) - 0.5) ** 2).mean() + ((layer.mean(1) - 5 / 6) ** 2).mean()
    better = pairs.kept[0, 0][vision].view(4, VISIONS).float()
    wanted += 0.1 * functional.binary_cross_entropy(token, better)
    wanted += 0.1 * functional.binary_cross_entropy(layer, pairs.run[0, 0].float())
    assert found == pytest.approx(wanted.item(), rel=1e-5)


def test_pairs_that_hardly_differ_are_left_out_of_the_loss():
    subject, pairs = router(), made()
    swapped = replace(pairs, kept=pairs.kept.flip(0), run=pairs.run.flip(0))
    both = Pairs(
        pairs.embeddings,
        pairs.segments,
        torch.cat([pairs.kept, swapped.kept], dim=1),
        torch.cat([pairs.run, swapped.run], dim=1),
        torch.tensor([[1.0] * ROWS, [0.0] * ROWS]),
    )
    one, two = (
        training._loss(subject, each, torch.zeros(len(each.gaps), ROWS), SCHEDULE).item()
        for each in (pairs, both)
    )
    assert two == pytest.approx(one, rel=1e-6)


def test_a_pair_weighs_what_its_decisions_differ_by():
    subject, pairs = router(), made()
    reference = torch.zeros(1, ROWS)

    def loss(gaps):
        return training._loss(
            subject, replace(pairs, gaps=torch.tensor([gaps])), reference, SCHEDULE
        ).item()

    first, second = loss([1.0, 0, 0, 0]), loss([0, 1.0, 0, 0])
    assert first != pytest.approx(second, rel=1e-4)
    mixed = loss([0.02, 0.01, 0, 0])  # the scale of all gaps together is no matter
    assert mixed == pytest.approx((2 * first + second) / 3, rel=1e-5)


def test_it_learns_to_prefer_what_was_better(store):
    subject = router()
    prior = subject.prior.clone()
    losses = train(subject, store, SCHEDULE, order=torch.Generator().manual_seed(0))
    assert losses[-1] < 0.8 * losses[0]
    unseen = made(seed=99)
    with torch.no_grad():
        scores = subject(unseen.embeddings, unseen.segments)
        margins = training._difference(scores.tokens, unseen.kept)
    assert (margins > 0).all()
    assert (scores.layers[:, 3] < scores.layers[:, 4]).all()
    assert torch.equal(subject.prior, prior)
    assert not subject.training


def test_the_same_pairs_and_order_give_the_same_bits(store):
    states = []
    for _ in range(2):
        subject = router()
        train(subject, store, SCHEDULE, order=torch.Generator().manual_seed(3))
        states.append(subject.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_ends_where_the_listener_says_so(store):
    class StopError(Exception):
        pass

    told = []

    def tick(done, total):
        told.append((done, total))
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        train(router(), store, SCHEDULE, order=torch.Generator(), tick=tick)
    assert told == [(1, 48), (2, 48), (3, 48)]


def test_a_store_starts_empty_and_gives_back_what_it_got(tmp_path):
    first = PairStore(tmp_path)
    first.add(made())
    assert PairStore(tmp_path).count == 0
    again = PairStore(tmp_path)
    pairs = made(seed=5)
    again.add(pairs)
    ((place, found),) = again.batches()
    assert place == 0
    for each in fields(Pairs):
        assert torch.equal(getattr(found, each.name), getattr(pairs, each.name))


def test_batches_without_pairs_are_not_kept(tmp_path):
    store = PairStore(tmp_path)
    pairs = made()
    store.add(replace(pairs, embeddings=pairs.embeddings[:0], segments=pairs.segments[:0]))
    assert store.count == 0
