"""The splits share no layout, no digit and no random stream."""

from itertools import combinations, islice

import pytest

from workers.scenes import digits
from workers.scenes.samples import samples
from workers.scenes.scene import DIGITS
from workers.scenes.splits import BUCKETS, Split, bucket


def drawn(split, seed):
    return list(islice(samples(split, seed=seed, kind="caption"), 60))


def test_every_bucket_has_one_owner():
    assert sorted(number for split in Split for number in split.buckets) == list(range(BUCKETS))


def test_every_digit_drawing_has_one_owner():
    owned = [int(i) for split in Split for d in range(10) for i in digits.instances(split, d)]
    assert sorted(owned) == list(range(1797))


@pytest.mark.parametrize("split", Split)
def test_every_split_has_many_drawings_of_every_digit(split):
    assert all(len(digits.instances(split, int(digit))) > 7 for digit in DIGITS)


@pytest.mark.parametrize(("one", "other"), list(combinations(Split, 2)))
def test_drawn_scenes_are_disjoint(one, other):
    # The same seed on both sides: it is the split that keeps them apart.
    first, second = drawn(one, seed=3), drawn(other, seed=3)
    assert not {s.scene.key for s in first} & {s.scene.key for s in second}
    instances = [{t.instance for s in part for t in s.scene.things} for part in (first, second)]
    assert instances[0] & instances[1] == {None}
    assert not {s.image.tobytes() for s in first} & {s.image.tobytes() for s in second}


def test_other_seeds_give_other_scenes_of_the_same_split():
    first, second = drawn(Split.TEST, seed=0), drawn(Split.TEST, seed=1)
    assert [s.scene for s in first] != [s.scene for s in second]
    assert all(bucket(s.scene.key) in Split.TEST.buckets for s in first + second)


def test_a_bucket_is_the_same_everywhere():
    assert bucket("red circle top-left , blue 7 middle-center") == 17
