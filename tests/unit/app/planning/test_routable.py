"""Which models PAR can route, as far as config.json tells."""

import pytest

from app.planning.routable import (
    REASONS,
    TOKENS_AND_LAYERS,
    RoutingFamilyError,
    check_routable,
)
from app.recipes.routing import Routing, TokensAndLayers

HALF = Routing(budget=TokensAndLayers(tokens=0.5, layers=6))


def config(name, **text):
    return {
        "architectures": [name],
        "vision_config": {},
        "text_config": {"num_hidden_layers": 8, **text},
    }


@pytest.mark.parametrize("name", sorted(TOKENS_AND_LAYERS))
def test_families_with_full_attention_are_taken(name):
    check_routable(config(name), HALF)
    check_routable(config(name, layer_types=["full_attention"] * 8), HALF)
    check_routable(config(name, model_type="mistral", sliding_window=None), HALF)


@pytest.mark.parametrize("name", sorted(REASONS))
def test_others_are_refused_with_their_reason(name):
    with pytest.raises(RoutingFamilyError, match=REASONS[name][:30].replace("(", r"\(")):
        check_routable(config(name), HALF)


@pytest.mark.parametrize(
    "text",
    [
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"model_type": "mistral"},
        {"model_type": "mistral", "sliding_window": 4096},
    ],
)
def test_windows_are_refused_before_anything_is_queued(text):
    with pytest.raises(RoutingFamilyError, match="sliding window"):
        check_routable(config("Mistral3ForConditionalGeneration", **text), HALF)
