"""Both routers on every family: shapes, padding, the question, noise, parameters."""

import pytest
import torch

from tests.unit.workers.pruning.routing.subjects import (
    FAMILIES,
    LAYERS,
    Recorder,
    fixed,
    model_of,
    prompts,
)
from workers.pruning.routing.runtime import (
    PADDING,
    TEXT,
    VISION,
    FullRouter,
    SlimRouter,
    anatomy,
    build_router,
    par,
)


def prompt_of(name, **options):
    """Merged embeddings and segments of a batch."""
    model, decide = model_of(name), Recorder(fixed(1.0, tuple(range(LAYERS))))
    with par(model, decide), torch.no_grad():
        model(**prompts(name, **options))
    return decide.calls[-1][:2]


def router_of(name, kind):
    torch.manual_seed(1)
    subject = anatomy(model_of(name))
    slim = SlimRouter(subject.hidden_size, LAYERS)
    return (slim if kind == "slim" else FullRouter(subject, depth=2)).eval()


@pytest.mark.parametrize("kind", ["slim", "full"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_padding_changes_nothing(name, kind):
    router, (embeddings, segments) = router_of(name, kind), prompt_of(name)
    both = router(embeddings, segments)
    assert both.tokens.shape == segments.shape
    assert both.layers.shape == (2, LAYERS)
    row = segments[0] != PADDING
    assert not row.all()
    alone = router(embeddings[:1, row], segments[:1, row])
    torch.testing.assert_close(both.tokens[:1, row], alone.tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(both.layers[:1], alone.layers, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["slim", "full"])
@torch.no_grad()
def test_image_scores_see_the_question_after_them(kind):
    router, (embeddings, segments) = router_of("llava", kind), prompt_of("llava")
    last = (segments == TEXT).long().cumsum(1).argmax(1)
    other = embeddings.clone()
    other[torch.arange(2), last] += 1
    vision = segments == VISION
    before, after = (router(x, segments).tokens[vision] for x in (embeddings, other))
    assert (before - after).abs().max() > 1e-4


@pytest.mark.parametrize(("text_heads", "sees"), [(4, False), (2, True), (0, True)])
@torch.no_grad()
def test_text_heads_read_no_image_tokens(text_heads, sees):
    torch.manual_seed(1)
    embeddings, segments = prompt_of("llava", texts=((3, 5),))
    router = SlimRouter(embeddings.shape[-1], LAYERS, text_heads=text_heads).eval()
    other = embeddings.clone()
    first = int((segments[0] == VISION).long().argmax())
    other[:, first] += 1
    before, after = (router(x, segments).tokens[0] for x in (embeddings, other))
    rest = torch.arange(len(before)) != first
    assert bool((before - after)[rest].abs().max() > 1e-5) is sees
    assert abs(before[first] - after[first]) > 1e-5


@torch.no_grad()
def test_a_shape_that_names_no_text_heads_has_none():
    shape = router_of("llava", "slim").shape()
    assert shape.pop("text_heads") == 3
    assert build_router(shape, anatomy(model_of("llava"))).shape()["text_heads"] == 0


@pytest.mark.parametrize("kind", ["slim", "full"])
@torch.no_grad()
def test_noise_is_reproducible_and_off_by_default(kind):
    router, prompt = router_of("llava", kind), prompt_of("llava")
    quiet = router(*prompt).tokens
    first, second = (
        router(*prompt, noise=1.0, generator=torch.Generator().manual_seed(3)).tokens
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert (first - quiet).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["slim", "full"])
def test_starts_from_keep_and_gives_the_model_no_gradient(kind):
    router, (embeddings, segments) = router_of("llava", kind), prompt_of("llava")
    embeddings = embeddings.clone().requires_grad_()
    scores = router(embeddings, segments)
    assert scores.tokens[segments == VISION].sigmoid().min() > 0.5
    assert scores.layers.sigmoid().min() > 0.5
    (scores.tokens.sum() + scores.layers.sum()).backward()
    assert embeddings.grad is None
    assert all(value.grad is not None for value in router.parameters())


@torch.no_grad()
def test_prior_is_added_to_the_layers_and_not_trained():
    router, prompt = router_of("llava", "slim"), prompt_of("llava")
    before = router(*prompt).layers
    prior = torch.linspace(-1, 1, LAYERS)
    router.prior.copy_(prior)
    torch.testing.assert_close(router(*prompt).layers, before + prior)
    assert "prior" in router.state_dict()
    assert "prior" not in dict(router.named_parameters())


@pytest.mark.parametrize("kind", ["slim", "full"])
@torch.no_grad()
def test_is_rebuilt_from_its_shape(kind):
    router, prompt = router_of("llava", kind), prompt_of("llava")
    again = build_router(router.shape(), anatomy(model_of("llava")))
    again.load_state_dict(router.state_dict())
    assert torch.equal(again(*prompt).tokens, router(*prompt).tokens)


def test_width_follows_the_model():
    assert SlimRouter(4096, 32).width == 256
    assert SlimRouter(1024, 24).width == 128
    assert SlimRouter(128, 16).width == 64
    assert SlimRouter(20, 6).width == 16
