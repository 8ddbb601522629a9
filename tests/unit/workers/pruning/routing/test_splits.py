"""Which records do what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CalibrationDataError
from workers.pruning.routing.learning import split


@given(
    images=st.lists(st.sampled_from([f"image {n}" for n in range(40)]), min_size=30, max_size=120),
    held_out=st.floats(0.05, 0.5),
    seed=st.integers(0, 5),
)
def test_every_record_has_one_part_and_no_image_two(images, held_out, seed):
    if len(set(images)) < 4:
        return
    found = split(images, held_out, seed)
    assert sorted(place for part in found for place in part) == list(range(len(images)))
    parts = [{images[place] for place in part} for part in found]
    assert all(parts)
    assert sum(map(len, parts)) == len(set(images))
    assert len(parts[1]) == len(parts[2]) <= max(1, round(len(set(images)) / 4))
    assert found == split(images, held_out, seed)


@pytest.mark.parametrize("images", [[], ["a"], ["a", "b"], ["a", "b", "a", "b"]])
def test_too_few_images_are_refused(images):
    with pytest.raises(CalibrationDataError, match="too few"):
        split(images, 0.2, 0)
