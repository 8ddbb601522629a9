"""Experts that a tensor packs, told from headers alone."""

import pytest

from app.errors import ModelLoadError
from app.planning.experts import packed_experts
from app.planning.memory import ModelLayout
from app.planning.model_files.headers import StoredTensor
from app.planning.plan import prunable
from app.recipes.recipe import Recipe

CONFIG = {"model_type": "x", "num_experts": 4, "num_experts_per_tok": 2, "hidden_size": 8}
PATH = "model.layers.0.mlp.experts"


@pytest.mark.parametrize(
    ("name", "shape", "found"),
    [
        ("gate_up_proj", (4, 12, 8), {"0.gate_proj": (6, 8), "0.up_proj": (6, 8)}),
        ("gate_up_proj", (4, 8, 12), {"0.gate_proj": (6, 8), "0.up_proj": (6, 8)}),
        ("down_proj", (4, 8, 6), {"0.down_proj": (8, 6)}),
        ("down_proj", (4, 6, 8), {"0.down_proj": (8, 6)}),
        ("gate_up_proj", (5, 12, 8), {}),
        ("conv1d.weight", (4, 12, 8), {}),
    ],
)
def test_projections_are_seen_as_out_by_in_whichever_way_they_lie(name, shape, found):
    packed = packed_experts(f"{PATH}.{name}", shape, CONFIG)
    assert {key: each for key, each in packed.items() if key.startswith("0.")} == found
    assert len(packed) == 4 * len(found)


def test_a_token_is_counted_for_as_many_experts_as_it_is_routed_to():
    tensors = {f"{PATH}.{e}.up_proj.weight": StoredTensor((6, 8)) for e in range(4)}
    (block,) = ModelLayout.of(tensors, CONFIG).blocks
    assert block.features == 2 * (6 + 8)
    assert block.expert_inputs == (8, 8, 8, 8)


def test_a_header_that_packs_more_matrices_than_any_model_has_is_refused():
    config = CONFIG | {"num_experts": 200_000}
    names = [f"model.layers.{i}.mlp.experts.gate_up_proj" for i in range(2)]
    tensors = {name: StoredTensor((200_000, 12, 8)) for name in names}
    with pytest.raises(ModelLoadError, match="more than"):
        ModelLayout.of(tensors, config)
    with pytest.raises(ModelLoadError, match="more than"):
        prunable(tensors, config, Recipe(sparsity=0.5))
