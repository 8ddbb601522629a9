"""What stays is solved for as least squares say, and chosen by what is told of tokens held out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NonFiniteError
from app.recipes.structure import Width
from workers.pruning.structure.channels import Problem, by_magnitude
from workers.pruning.structure.moments import MOST_HELD, Moments

OUT, WIDTH = 5, 12


def inputs_of(seed, tokens=400, shift=3.0):
    """Tokens whose channels go together, with means that are not zero."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(WIDTH, WIDTH, generator=draw)
    mean = shift * torch.randn(WIDTH, generator=draw)
    weight = torch.randn(OUT, WIDTH, generator=draw)
    return weight, torch.randn(tokens, WIDTH, generator=draw) @ mixing + mean


def moments_of(*batches):
    found = Moments(WIDTH, torch.device("cpu"))
    for tokens in batches:
        found.add(tokens, 1)
    return found


def choice(weight, tokens, count=6, *, bias=True, **settings):
    made_by = torch.ones(WIDTH)
    problem = Problem(weight, made_by, moments_of(tokens), settings=Width(**settings), bias=bias)
    return problem.choose(count)


def missed(weight, tokens, found):
    outputs = tokens[:, found.kept] @ found.weight.T
    if found.shift is not None:
        outputs = outputs + found.shift
    return float((tokens @ weight.T - outputs).square().sum())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("score", ["energy", "variance", "obs", "magnitude"])
def test_the_weights_are_those_of_least_squares(bias, score):
    weight, tokens = inputs_of(0)
    found = choice(weight, tokens, bias=bias, score=score, damping=1e-9)
    kept = tokens[:, found.kept].double()
    if bias:
        kept = torch.cat([kept, torch.ones(len(kept), 1, dtype=torch.float64)], dim=1)
    best = torch.linalg.lstsq(kept, tokens.double() @ weight.double().T).solution
    least = float((tokens.double() @ weight.double().T - kept @ best).square().sum())
    assert missed(weight, tokens, found) == pytest.approx(least, rel=1e-3)
    assert (found.shift is not None) == bias


def test_a_bias_takes_the_mean_of_what_goes():
    weight, tokens = inputs_of(1, shift=20.0)
    with_bias = choice(weight, tokens, bias=True, score="variance")
    without = choice(weight, tokens, bias=False, score="variance")
    assert missed(weight, tokens, with_bias) < 0.9 * missed(weight, tokens, without)


@given(st.integers(0, 2**31))
def test_auto_is_as_good_on_held_out_tokens_as_any_score(seed):
    weight, tokens = inputs_of(seed, tokens=120)
    errors = {
        score: choice(weight, tokens, score=score).error
        for score in ("energy", "variance", "obs", "magnitude")
    }
    found = choice(weight, tokens)
    assert found.error == pytest.approx(min(errors.values()))
    assert errors[found.score] == pytest.approx(found.error)


def test_obs_keeps_what_the_others_cannot_stand_in_for():
    weight, tokens = inputs_of(2, shift=0.0)
    tokens[:, 1] = tokens[:, 0] * 10  # of great energy, and the other one tells all of it
    tokens[:, 2] *= 0.5
    weight[:] = 1.0
    found = choice(weight, tokens, count=WIDTH - 1, score="obs", bias=False, damping=1e-6)
    assert len({0, 1} & set(found.kept.tolist())) == 1
    assert missed(weight, tokens, found) < 1e-3 * float((tokens @ weight.T).square().sum())


def test_the_elimination_is_that_of_inverses_made_anew_in_every_round():
    weight, tokens = inputs_of(8)
    found = choice(weight, tokens, count=4, score="obs", bias=False)
    moments = moments_of(tokens)
    moments.take_in_held()
    second = moments.second(centred=False)[0].double()
    second.diagonal().add_(0.01 * second.diagonal().mean())
    left = torch.arange(WIDTH)
    for number in range(1, 9):
        size = round(WIDTH * (4 / WIDTH) ** (number / 8))
        inverse = torch.linalg.inv(second[left][:, left])
        solved = weight.double() @ second[:, left] @ inverse
        losses = solved.square().sum(0) / inverse.diagonal()
        left = left[losses.argsort(descending=True)[:size].sort().values]
    assert torch.equal(found.kept, left)


def test_without_solving_the_columns_are_those_that_were_there():
    weight, tokens = inputs_of(3)
    found = choice(weight, tokens, solve=False, score="energy")
    assert torch.equal(found.weight, weight[:, found.kept])
    assert found.shift is None
    assert missed(weight, tokens, choice(weight, tokens, score="energy")) < missed(
        weight, tokens, found
    )


@pytest.mark.parametrize("score", ["auto", "obs", "variance"])
def test_channels_that_say_nothing_are_no_trouble(score):
    weight, tokens = inputs_of(4)
    tokens[:, 3] = 0  # dead
    tokens[:, 4] = 7  # the same for every token
    found = choice(weight, tokens, score=score)
    assert torch.isfinite(found.weight).all()
    constant = torch.full_like(tokens, 0.25)
    found = choice(weight, constant, score=score)
    assert torch.isfinite(found.weight).all()
    assert missed(weight, constant, found) < 1e-4 * float((constant @ weight.T).square().sum())


def test_what_is_not_finite_is_named_and_not_used():
    weight, tokens = inputs_of(5)
    weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        choice(weight, tokens, score="energy")


def test_without_tokens_to_hold_out_auto_takes_the_variance_or_the_energy():
    weight, tokens = inputs_of(6)
    found = choice(weight, tokens[:3])
    assert (found.score, found.error) == ("variance", None)
    assert choice(weight, tokens[:3], bias=False).score == "energy"


def test_what_was_held_out_is_solved_for_too():
    _, tokens = inputs_of(7)
    found = moments_of(tokens[:200], tokens[200:])
    assert sum(map(len, found.held)) == 100
    assert found.counted == 300
    found.take_in_held()
    second, mean = found.second(centred=False)
    assert not found.held
    assert torch.allclose(second, tokens.T @ tokens / 400, rtol=1e-4, atol=1e-3)
    assert torch.allclose(mean, tokens.mean(0), rtol=1e-4)


def test_a_bounded_number_of_tokens_is_held_out():
    found = moments_of(*[torch.randn(MOST_HELD * 2, WIDTH)] * 4)
    assert sum(map(len, found.held)) == MOST_HELD
    assert found.counted == MOST_HELD * 7


def test_magnitude_looks_at_what_makes_a_channel_too():
    weight = torch.ones(OUT, 4)
    found = by_magnitude(weight, torch.tensor([1.0, 9.0, 2.0, 5.0]), 2)
    assert found.kept.tolist() == [1, 3]
