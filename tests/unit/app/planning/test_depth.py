"""What config.json and the names of tensors tell of the blocks that may be left out."""

import pytest

from app.planning.depth import is_last, kinds_of, most_to_go, named_blocks
from app.planning.model_files.headers import StoredTensor
from app.planning.model_files.outlines import Outline
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.structure import (
    ConfigurationError,
    Depth,
    KeepError,
    NothingLeftError,
    WiringError,
)

PLAIN = {"self_attn.q_proj.weight": (16, 16), "mlp.fc1.weight": (32, 16)}
LINEAR = {"linear_attn.in_proj.weight": (48, 16), "linear_attn.A_log": (4,)}


def outline(config, **towers):
    """A model of these stacks of blocks."""
    tensors = {
        f"{name.replace('_of_', '.')}.{number}.{path}": StoredTensor(shape)
        for name, blocks in towers.items()
        for number, shapes in enumerate(blocks)
        for path, shape in shapes.items()
    }
    return Outline(tensors, config)


def planned(model, settings):
    return plan_structure(model, Recipe(sparsity=0, structure=(settings,)))


def test_blocks_are_named_by_lists_and_by_single_numbers():
    part = {
        "fullatt_block_indexes": [1, 3],
        "insert_layer_id": 2,
        "out_indices": [0, 4],
        "mlp_only_layers": [],
        "no_rope_layers": [1, 0, 1, 0, 1, 0],
        "num_hidden_layers": 6,
        "eos_token_id": 5,
    }
    assert named_blocks(part, 6) == {1, 2, 3}
    assert named_blocks({"insert_layer_id": 6}, 6) == set()


def test_kinds_are_listed_or_shown_by_names():
    listed = ["full_attention", "linear_attention", "sliding_attention", "moe"]
    found = ["attention", "linear_attention", "attention", "moe"]
    assert kinds_of({"layer_types": listed}, [PLAIN] * 4) == found
    assert kinds_of({"layer_types": ["a"]}, [LINEAR, PLAIN]) == ["linear_attention", "attention"]


def test_one_block_of_each_kind_stays():
    kinds = ["full", "linear", "linear", "full", "linear"]
    assert most_to_go(range(5), kinds) == 3
    assert most_to_go([1, 2, 3], kinds) == 3
    assert most_to_go([0, 3], kinds) == 1
    assert is_last(0, kinds, {3})
    assert not is_last(0, kinds, {1, 2})


def test_a_plan_leaves_a_block_of_each_kind():
    model = outline({"model_type": "any"}, model_of_layers=[LINEAR] * 5 + [PLAIN])
    with pytest.raises(NothingLeftError, match="is 5 blocks; from 1 to 4 can be removed"):
        planned(model, Depth(removed=0.9, ends=True))
    (tower,) = planned(model, Depth(removed=0.67, ends=True)).report.towers
    assert (tower.blocks_kept, tower.parameters_kept) == (2, 16 * 48 + 4 + 16 * 48)


def test_a_plan_leaves_the_blocks_that_the_configuration_names():
    vision = {"num_hidden_layers": 4, "deepstack_visual_indexes": [1, 2]}
    config = {"vision_config": vision, "model_type": "any"}
    model = outline(config, vision_of_layers=[PLAIN] * 4)
    with pytest.raises(NothingLeftError, match="none of them can be removed"):
        planned(model, Depth(removed=0.25))
    (tower,) = planned(model, Depth(removed=0.5, ends=True)).report.towers
    assert tower.blocks_kept == 2
    with pytest.raises(NothingLeftError, match="from 1 to 2 can be removed"):
        planned(model, Depth(removed=0.75, ends=True))


HYBRID = {"model_type": "any", "layer_types": ["linear", "linear", "full", "linear"]}


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ((0, 2, 4), "keep names block 4; its 4 blocks are 0 to 3"),
        ((0, 1, 2, 3), "all of its 4 blocks"),
        ((0, 1), "no block of full, .* name one of 2 too"),
        ((2,), "no block of linear, .* name one of 0, 1, 3 too"),
        ({Modality.LANGUAGE: (0, 1)}, "model.layers: keep leaves no block of full"),
    ],
)
def test_numbers_that_cannot_be_what_is_left_are_refused(keep, words):
    with pytest.raises(KeepError, match=words):
        planned(outline(HYBRID, model_of_layers=[PLAIN] * 4), Depth(keep=keep))


def test_a_block_that_the_configuration_names_has_to_be_kept():
    config = {"vision_config": {"insert_layer_id": 1}, "model_type": "any"}
    model = outline(config, vision_of_layers=[PLAIN] * 3, model_of_layers=[PLAIN] * 3)
    with pytest.raises(KeepError, match=r"vision\.layers: config\.json names 1 by number"):
        planned(model, Depth(keep={Modality.VISION: (0, 2)}))
    seen, spoken = planned(model, Depth(keep={Modality.VISION: (1,)})).report.towers
    assert (seen.blocks_kept, spoken.blocks_kept) == (1, 3)


def test_what_is_named_is_what_is_left():
    sizes = [{"mlp.fc1.weight": (8 * width, 16)} for width in range(1, 5)]
    plan = planned(outline({"model_type": "any"}, model_of_layers=sizes), Depth(keep=(1, 2)))
    assert {key.split(".")[2] for key in plan.outline.tensors} == {"1", "2"}
    assert plan.report.parameters_kept == 16 * 8 * (2 + 3)


def test_a_model_without_the_part_is_refused():
    model = outline({"model_type": "any"}, model_of_layers=[PLAIN] * 3)
    for settings in (Depth(keep={Modality.VISION: (0,)}), Depth(removed={Modality.VISION: 0.5})):
        with pytest.raises(WiringError, match="no part of the model"):
            planned(model, settings)


def test_towers_that_are_tied_together_are_refused_by_name():
    tied = {"deepstack_layer_map": [[-1, 0]], "vision_config": {}, "model_type": "granite4_vision"}
    model = outline(tied, vision_of_layers=[PLAIN] * 4, model_of_layers=[PLAIN] * 4)
    with pytest.raises(ConfigurationError, match="deepstack_layer_map"):
        planned(model, Depth(removed=0.5, ends=True))
    streams = outline(
        {"model_type": "lxmert"},
        encoder_of_x_layers=[PLAIN] * 2,
        vision_of_layers=[PLAIN] * 2,
    )
    with pytest.raises(WiringError, match=r"encoder\.x_layers: .* other modalities"):
        planned(streams, Depth(removed=0.5, ends=True))
    seen = planned(streams, Depth(removed={Modality.VISION: 0.5}, ends=True))
    assert [tower.blocks_kept for tower in seen.report.towers] == [2, 1]
