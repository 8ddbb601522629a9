"""Which records train a router, which choose among its rounds, and which judge it."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from app.errors import CalibrationDataError


class Split(NamedTuple):
    """Places of records; no image is in two parts."""

    train: tuple[int, ...]
    choose: tuple[int, ...]
    judge: tuple[int, ...]


def split(images: Sequence[str], held_out: float, seed: int) -> Split:
    """Deal the records out by their images.

    Args:
        images: digest of each record's image.
        held_out: share of the images that is not trained on, half of it for choosing.
        seed: of the deal.

    Raises:
        CalibrationDataError: there are too few images for three parts.
    """
    unlike = list(dict.fromkeys(images))
    random.Random(seed).shuffle(unlike)  # noqa: S311 - a reproducible order, no secret
    each = max(1, round(len(unlike) * held_out / 2))
    if len(unlike) < 2 * each + 1:
        raise CalibrationDataError(
            f"{len(unlike)} different images are too few to train, choose and judge a router on"
        )
    part = {image: 2 if at < each else 1 if at < 2 * each else 0 for at, image in enumerate(unlike)}
    places: tuple[list[int], ...] = ([], [], [])
    for place, image in enumerate(images):
        places[part[image]].append(place)
    return Split(*map(tuple, places))
