"""A router for every family: answered, mined, trained, judged, through each family's own inputs."""

import pytest
import torch
import transformers as tf

from app.recipes.routing import Routing, TokensAndLayers
from benchmarks.families.processor_sizes import CHANGES_OF_TYPES
from benchmarks.families.processors import attempt
from tests.families import BY_NAME, records
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.routing.answers import answer
from workers.pruning.routing.flops import Costs
from workers.pruning.routing.learning import learn, new_router
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.profiles import budget_of, standard_profiles, typical_prompt
from workers.pruning.routing.runtime import anatomy, layer_candidates

LAYERS = 6
FAMILIES = ("idefics3", "instructblip", "llava_next", "qwen2_5_vl", "qwen2_vl", "smolvlm")


FULL = {
    "text_config.num_hidden_layers": LAYERS,
    "text_config.layer_types": ["full_attention"] * LAYERS,
    "text_config.sliding_window": None,
}
# Of the generic adapter, with the processors of transformers.
NEWER = {
    "internvl": {"vision_config.image_size": [32, 32], "vision_config.patch_size": [8, 8]},
    "llava_onevision": {},
    "mistral3": {},
}


@pytest.fixture(params=(*FAMILIES, *NEWER))
def adapter(request, tmp_path, monkeypatch):
    if request.param in NEWER:
        monkeypatch.setitem(CHANGES_OF_TYPES, request.param, FULL | NEWER[request.param])
        assert attempt(request.param, tmp_path)["told"] == "ok"
        return adapt(load_model(tmp_path))
    BY_NAME[request.param].build(tmp_path)
    config = tf.AutoConfig.from_pretrained(tmp_path)
    text = config.get_text_config()
    text.num_hidden_layers = LAYERS
    if getattr(text, "layer_types", None):
        text.layer_types = ["full_attention"] * LAYERS
    torch.manual_seed(0)
    model = getattr(tf, config.architectures[0])(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(tmp_path)
    return adapt(load_model(tmp_path))


@pytest.mark.filterwarnings("ignore")  # of foreign processors
def test_a_router_is_learnt(adapter, tmp_path):
    subject = anatomy(adapter.model)
    tokens = 0.5 if subject.prunes_tokens else 1
    routing = Routing(
        budget=TokensAndLayers(tokens=tokens, layers=5), rounds=1, candidates=3, epochs=1
    )
    scratch = tmp_path / "pairs"
    scratch.mkdir()
    with torch.no_grad():
        answered = list(
            answer(adapter, records("pair", 6), batch_size=2, max_length=64, answer_tokens=3)
        )
        typical = typical_prompt(subject, answered)
        costs = Costs(subject, new_router(adapter, routing), typical)
        profile = budget_of(routing, subject, costs)
        rules = Rules(profile, layer_candidates(LAYERS, 2), 0.1)
        found = learn(
            adapter, routing, rules, training=answered, choosing=answered[:1], scratch=scratch
        )
    assert (profile.tokens, profile.layers) == (tokens, 5)
    assert typical.vision >= 2
    assert found.rounds[0].pairs > 0
    assert 0 <= found.rounds[0].best < found.rounds[0].worst
    names = set(standard_profiles(subject, 2))
    assert ("token-only" in names) is ("early" in names) is subject.prunes_tokens
