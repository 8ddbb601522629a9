"""Digits bend for training; nothing else does."""

import numpy as np

from workers.scenes import digits
from workers.scenes.drawing import draw
from workers.scenes.scene import Scene, Thing
from workers.scenes.splits import Split


def drawn(kind, *, warp):
    instance = int(digits.instances(Split.TRAIN, int(kind))[0]) if kind.isdigit() else None
    scene = Scene((Thing(4, "white", kind, instance),))
    return np.asarray(draw(scene, Split.TRAIN.rng(0, 0), warp=warp), dtype=float)


def test_only_digits_are_warped_and_stay_in_their_cell():
    assert np.array_equal(drawn("circle", warp=True), drawn("circle", warp=False))
    bent, straight = drawn("7", warp=True), drawn("7", warp=False)
    assert not np.array_equal(bent, straight)
    inside = slice(16, 32)
    assert bent[inside, inside].max() > 150
    outside = bent.copy()
    outside[inside, inside] = 0
    assert outside.max() < 150


def test_a_warped_digit_is_still_much_like_itself():
    bent, straight = (drawn("0", warp=warp)[16:32, 16:32].ravel() for warp in (True, False))
    assert np.corrcoef(bent, straight)[0, 1] > 0.5
