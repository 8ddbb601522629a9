"""How many channels and blocks stay."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.recipes.methods.depth import DepthMethod
from app.recipes.modality import Modality
from app.recipes.structure import (
    Depth,
    NothingLeftError,
    Width,
    blocks_removed,
    channels_kept,
    modalities_of,
)


@pytest.mark.parametrize(
    ("width", "removed", "multiple", "kept"),
    [
        (11008, 0.5, None, 5504),  # 43 x 128
        (11008, 0.75, None, 2816),  # 22 x 128 where 2752 were asked for
        (384, 0.75, None, 96),  # 128 would be 8 % of the width off
        (24, 0.5, None, 12),
        (100, 0.29, None, 71),  # a decimal, no binary fraction
        (384, 0.75, 128, 128),
        (384, 0.75, 100, 100),
    ],
)
def test_what_stays_is_rounded_up_to_what_hardware_likes(width, removed, multiple, kept):
    assert channels_kept(width, removed, multiple, "here") == kept


@given(st.integers(2, 20_000), st.floats(0.001, 0.999))
def test_no_more_goes_than_is_asked_for_and_little_less(width, removed):
    assume(int(width * removed) > 0)
    try:
        kept = channels_kept(width, removed, None, "here")
    except NothingLeftError:
        assert width * removed < 128
        return
    least = width - width * removed
    assert least - 1e-6 <= kept < width
    assert kept - least <= 1 + width / 100


@pytest.mark.parametrize("removed", [0.01, 0.02])
def test_a_share_that_takes_nothing_is_refused_by_name(removed):
    with pytest.raises(
        NothingLeftError,
        match=r"the tower: removing a share of .* of 24 channels, .*; at least one has to go",
    ):
        channels_kept(24, removed, None, "the tower")


def test_blocks_that_stay_are_counted():
    assert blocks_removed(12, 0.25, 10, "here") == 3
    assert blocks_removed(4, 0.25, 2, "here") == 1
    with pytest.raises(NothingLeftError, match="3 blocks; from 1 to 2 can be removed"):
        blocks_removed(4, 0.9, 2, "here")


def test_blocks_are_named_for_all_or_for_a_modality():
    step = Depth(keep=(0, 3))
    assert (step.kept_of(Modality.VISION), step.removed) == ((0, 3), None)
    step = Depth.model_validate({"keep": {"language": [1]}})
    assert step.takes_from(Modality.LANGUAGE)
    assert not step.takes_from(Modality.VISION)
    assert step.share_of(Modality.LANGUAGE) == 0
    assert modalities_of([step]) == {Modality.LANGUAGE}
    assert Depth.model_validate(step.model_dump(mode="json")) == step
    assert DepthMethod(keep=(0, 3)).step() == Depth(keep=(0, 3))
    assert Depth().removed == 0.25


def test_the_modalities_that_are_named():
    steps = [Width(mlp_removed={Modality.VISION: 0.5}), Depth(removed=0.5)]
    assert modalities_of(steps) == {Modality.VISION}
    assert steps[0].share_of(Modality.LANGUAGE) == 0
    assert steps[1].share_of(Modality.LANGUAGE) == 0.5
