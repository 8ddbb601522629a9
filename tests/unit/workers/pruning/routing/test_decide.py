"""Hard top-k by budget, the coverage floor, the layers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.pruning.routing.runtime import (
    PADDING,
    TEXT,
    VISION,
    ParError,
    Scores,
    decide,
    layer_candidates,
    token_budget,
)


def scores_of(tokens, layers=8):
    return Scores(torch.as_tensor(tokens).float(), torch.zeros(len(tokens), layers))


@given(
    rows=st.lists(
        st.lists(st.sampled_from([TEXT, VISION, PADDING]), min_size=12, max_size=12),
        min_size=1,
        max_size=4,
    ),
    tokens=st.integers(1, 14),
    floor=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 100),
)
def test_keeps_the_budget_the_grid_and_then_the_best(rows, tokens, floor, seed):
    segments = torch.tensor(rows)
    scores = scores_of(torch.rand(segments.shape, generator=torch.Generator().manual_seed(seed)))
    keep = decide(scores, segments, tokens=tokens, layers=8, coverage_floor=floor).keep
    counts = (segments == VISION).sum(1)
    if keep is None:
        assert (counts <= tokens).all()
        return
    for row, padded in enumerate(keep.tolist()):
        kept = [index for index in padded if index >= 0]
        vision = (segments[row] == VISION).nonzero().flatten().tolist()
        budget = min(tokens, len(vision))
        assert kept == sorted(set(kept))
        assert len(kept) == budget
        assert set(kept) <= set(vision)
        grid = int(budget * floor)
        even = {vision[int((i + 0.5) * len(vision) / grid)] for i in range(grid)}
        assert even <= set(kept)
        rest = [index for index in vision if index not in even]
        best = sorted(rest, key=lambda index: -float(scores.tokens[row, index]))
        assert set(kept) == even | set(best[: budget - grid])


def test_ties_go_to_the_first():
    segments = torch.full((1, 6), VISION)
    kept = decide(scores_of(torch.zeros(1, 6)), segments, tokens=3, layers=8, coverage_floor=0)
    assert kept.keep.tolist() == [[0, 1, 2]]


def test_budget_by_row():
    segments = torch.tensor([[VISION] * 6, [TEXT] * 2 + [VISION] * 4])
    scores = scores_of(torch.arange(6.0).expand(2, 6))
    share = token_budget((segments == VISION).sum(1), 0.5)
    kept = decide(scores, segments, tokens=share, layers=8, coverage_floor=0).keep
    assert share.tolist() == [3, 2]
    assert kept.tolist() == [[3, 4, 5], [4, 5, -1]]


def test_paper_budgets():
    counts = torch.tensor([576, 1])
    assert [token_budget(counts, x).tolist() for x in (0.444, 0.306, 0.25, 0.222)] == [
        [256, 1],
        [176, 1],
        [144, 1],
        [128, 1],
    ]


def test_layers_by_the_mean_of_the_rows_with_an_image():
    segments = torch.tensor([[VISION, VISION], [VISION, TEXT], [TEXT, TEXT]])
    layers = torch.tensor([[0, 0, 0, 0, 1, 4, 3, 0], [0, 0, 0, 0, 2, 0, 3, 0]]).float()
    layers = torch.cat([layers, torch.full((1, 8), -9.0)])
    layers[2, 6] = -99  # no image, no say
    scores = Scores(torch.zeros(3, 2), layers)
    assert decide(scores, segments, tokens=9, layers=7).layers == (0, 1, 2, 3, 5, 6, 7)
    chosen = decide(scores, segments, tokens=9, layers=7, candidates=(1, 6))
    assert chosen.layers == (0, 2, 3, 4, 5, 6, 7)


def test_only_candidates_are_skipped():
    assert layer_candidates(32) == tuple(range(16, 31))
    assert layer_candidates(6) == (3, 4)
    assert layer_candidates(8, 6) == ()
    assert layer_candidates(4, 0) == (2,)
    assert layer_candidates(2) == ()
    segments = torch.full((1, 4), VISION)
    scores = scores_of(torch.zeros(1, 4))
    assert decide(scores, segments, tokens=2, layers=5).layers == (0, 1, 2, 3, 7)
    with pytest.raises(ParError, match=r"choose 5 to 8"):
        decide(scores, segments, tokens=2, layers=4)
    with pytest.raises(ParError, match=r"choose 5 to 8"):
        decide(scores, segments, tokens=2, layers=9)


def test_at_least_one_token():
    with pytest.raises(ParError, match="at least one"):
        decide(scores_of(torch.zeros(1, 4)), torch.full((1, 4), VISION), tokens=0, layers=8)
