"""The shares that make a model as small as a target says, from its shapes alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.planning.model_files.headers import StoredTensor
from app.planning.model_files.outlines import Outline
from app.planning.size_target import size
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.size_target import SizeTarget
from app.recipes.structure import (
    ConfigurationError,
    Depth,
    Experts,
    NothingLeftError,
    TargetOutOfReachError,
    UnevenError,
    Width,
)

HIDDEN, VOCABULARY, VISION = 16, 64, 24


def stack(name, blocks, width, hidden):
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (width, hidden),
        "mlp.up_proj": (width, hidden),
        "mlp.down_proj": (hidden, width),
    }
    return {
        f"{name}.{number}.{path}.weight": StoredTensor(shape)
        for number in range(blocks)
        for path, shape in shapes.items()
    }


def outline(language=8, width=200, vision=0, **config):
    tensors = {"embed_tokens.weight": StoredTensor((VOCABULARY, HIDDEN))}
    tensors |= stack("language_model.layers", language, width, HIDDEN)
    tensors |= stack("vision_tower.layers", vision, 96, VISION)
    kind = {"model_type": "llama", "num_attention_heads": 4, "head_dim": 4, "image_size": 8}
    return Outline(tensors, kind | {"hidden_size": HIDDEN, "patch_size": 2} | config)


def mixture(experts=8, chosen=2, **config):
    tensors = stack("layers", 4, 1, HIDDEN)
    tensors = {key: each for key, each in tensors.items() if "mlp" not in key}
    for block in range(4):
        tensors[f"layers.{block}.mlp.gate.weight"] = StoredTensor((experts, HIDDEN))
        for each in range(experts):
            for path, shape in {"up_proj": (12, HIDDEN), "down_proj": (HIDDEN, 12)}.items():
                key = f"layers.{block}.mlp.experts.{each}.{path}.weight"
                tensors[key] = StoredTensor(shape)
    numbers = {"num_experts": experts, "num_experts_per_tok": chosen}
    return Outline(tensors, {"model_type": "qwen3_moe", "hidden_size": HIDDEN} | numbers | config)


def uneven():
    """The last of three blocks has a narrower MLP."""
    wide, narrow = outline(2), stack("language_model.layers", 3, 64, HIDDEN)
    return Outline(narrow | wide.tensors, wide.config)


def sized(model, steps, **target):
    recipe = size(model, Recipe(structure=steps, sparsity=0), SizeTarget(**target))
    return recipe, plan_structure(model, recipe).report


def reach(model, steps, **target):
    """Parameters left; None where the target is out of reach."""
    try:
        return sized(model, steps, **target)[1].parameters_kept
    except TargetOutOfReachError:
        return None


STEPS = {
    "width": (Width(),),
    "fine width": (Width(multiple=1),),
    "depth": (Depth(ends=True),),
    "both": (Depth(), Width()),
    "heads too": (Width(heads_removed=0.5),),
    "language alone": (Width(mlp_removed={Modality.LANGUAGE: 0.5}),),
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@settings(deadline=None, max_examples=40)
@given(ratio=st.floats(0.05, 0.95), blocks=st.integers(3, 9), vision=st.sampled_from([0, 3, 5]))
def test_no_more_is_left_than_the_target_says(steps, ratio, blocks, vision):
    model = outline(language=blocks, vision=vision)
    for name in ("target_parameters", "target_flops_ratio"):
        try:
            _, report = sized(model, steps, **{name: ratio})
        except TargetOutOfReachError:
            continue
        if name == "target_parameters":
            assert report.parameters_kept <= ratio * report.parameters
        else:
            assert report.flops_ratio <= ratio


@pytest.mark.parametrize("name", ["width", "fine width", "depth", "language alone"])
@settings(deadline=None, max_examples=25)
@given(one=st.floats(0.05, 0.95), other=st.floats(0.05, 0.95))
def test_a_larger_target_leaves_no_less(name, one, other):
    model = outline(vision=3)
    low, high = sorted([one, other])
    less, more = (reach(model, STEPS[name], target_parameters=each) for each in (low, high))
    if less is not None:
        assert more is not None
        assert less <= more


@settings(deadline=None, max_examples=40)
@given(ratio=st.floats(0.05, 0.95))
def test_what_is_left_is_the_closest_that_can_be_reached(ratio):
    model = outline()
    total = sum(tensor.numel for tensor in model.tensors.values())
    able = [total - 8 * 3 * HIDDEN * gone for gone in range(1, 200)]
    expected = max((each for each in able if each <= ratio * total), default=None)
    assert reach(model, STEPS["fine width"], target_parameters=ratio) == expected
    blocks = [total - gone * (total - VOCABULARY * HIDDEN) // 8 for gone in range(1, 8)]
    expected = max((each for each in blocks if each <= ratio * total), default=None)
    assert reach(model, STEPS["depth"], target_parameters=ratio) == expected


@settings(deadline=None, max_examples=40)
@given(ratio=st.floats(0.4, 0.95))
def test_channels_fill_up_what_blocks_leave_over(ratio):
    _, report = sized(outline(), STEPS["both"], target_parameters=ratio)
    channel = 8 * 3 * HIDDEN * 8  # of every block, in multiples of eight
    gone = report.towers[0].width_kept is not None
    assert report.parameters_kept > ratio * report.parameters - channel or not gone


def test_an_absolute_number_counts_embeddings_too():
    model = outline()
    total = sum(tensor.numel for tensor in model.tensors.values())
    _, report = sized(model, STEPS["fine width"], target_parameters=total // 2)
    assert total // 2 - 8 * 3 * HIDDEN < report.parameters_kept <= total // 2
    with pytest.raises(TargetOutOfReachError, match="as it is"):
        sized(model, STEPS["width"], target_parameters=total)
    with pytest.raises(TargetOutOfReachError, match="can leave no less"):
        sized(model, STEPS["width"], target_parameters=VOCABULARY * HIDDEN)


def test_shares_are_proportions():
    steps = (Width(mlp_removed={Modality.LANGUAGE: 0.6, Modality.VISION: 0.2}, multiple=1),)
    recipe, report = sized(outline(vision=4), steps, target_parameters=0.7)
    found = recipe.structure[0].mlp_removed
    assert found[Modality.LANGUAGE] == pytest.approx(3 * found[Modality.VISION], rel=0.01)
    assert report.parameters_kept <= 0.7 * report.parameters


def test_a_tower_too_short_for_the_share_keeps_its_blocks():
    recipe, report = sized(outline(language=20, vision=3), STEPS["depth"], target_parameters=0.9)
    assert set(recipe.structure[0].removed) == {Modality.LANGUAGE}
    towers = {each.modality: each for each in report.towers}
    assert towers[Modality.VISION].blocks_kept == 3
    assert towers[Modality.LANGUAGE].blocks_kept < 20


def test_operations_are_those_of_an_image_and_a_text():
    _, report = sized(outline(vision=4), STEPS["width"], target_flops_ratio=0.6)
    towers = {each.modality: each for each in report.towers}
    assert towers[Modality.VISION].tokens == 16
    assert towers[Modality.LANGUAGE].tokens == 512 + 16
    kept = sum(each.tokens * each.flops_kept for each in report.towers)
    assert kept <= 0.6 * sum(each.tokens * each.flops for each in report.towers)


def test_experts_go_down_to_as_many_as_a_token_is_routed_to():
    _, report = sized(mixture(), (Experts(),), target_parameters=0.6)
    assert report.parameters_kept <= 0.6 * report.parameters
    with pytest.raises(TargetOutOfReachError, match="routed to 2"):
        sized(mixture(), (Experts(),), target_parameters=0.2)
    with pytest.raises(TargetOutOfReachError, match="of the operations"):
        sized(mixture(), (Experts(),), target_flops_ratio=0.6)


def test_as_many_experts_go_from_each_group():
    groups = {"n_group": 4, "topk_group": 4}
    _, report = sized(mixture(16, 4, **groups), (Experts(),), target_parameters=0.8)
    assert report.towers[0].experts_kept in {4, 8, 12}


@pytest.mark.parametrize(
    ("model", "steps", "error"),
    [
        (uneven(), (Width(),), UnevenError),
        (outline(model_type="bloom"), (Width(),), ConfigurationError),
        (outline(model_type="bert"), (Width(heads_removed=0.5),), ConfigurationError),
        (outline(language=2), (Depth(),), TargetOutOfReachError),
    ],
)
def test_what_a_share_is_refused_for_a_target_is_too(model, steps, error):
    with pytest.raises(error):
        sized(model, steps, target_parameters=0.6)
    if error is not TargetOutOfReachError:
        with pytest.raises(error):
            plan_structure(model, Recipe(structure=steps, sparsity=0))


def test_a_share_that_leaves_nothing_is_refused():
    for model, step in ((outline(), Depth(removed=0.99)), (mixture(), Experts(removed=0.9))):
        with pytest.raises(NothingLeftError):
            plan_structure(model, Recipe(structure=(step,), sparsity=0))


def test_blocks_that_are_named_stay_as_they_are_whatever_the_target_takes():
    steps = (Depth(keep={Modality.LANGUAGE: (0, 2, 3)}), Width())
    recipe, report = sized(outline(4), steps, target_parameters=0.5)
    assert recipe.structure[0] == steps[0]
    assert recipe.structure[1].mlp_removed > 0
    assert report.towers[0].blocks_kept == 3
    assert report.parameters_kept <= 0.5 * report.parameters
    with pytest.raises(TargetOutOfReachError, match="keep says which blocks stay"):
        sized(outline(4), steps[:1], target_parameters=0.5)
