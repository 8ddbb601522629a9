"""The 1,797 real handwritten digits of 8 x 8 pixels that scikit-learn distributes.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998 (CC BY 4.0), its test part. `digits.npz` holds them in scikit-learn's order:
`pixels` (1797, 8, 8) of 0..16 and `labels` (1797,).
"""

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from workers.scenes.splits import BUCKETS, Split


@cache
def _load() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with files(__package__).joinpath("digits.npz").open("rb") as stream, np.load(stream) as data:
        pixels, labels = data["pixels"], data["labels"]
        return pixels, labels


def ink(index: int) -> NDArray[np.float32]:
    """Digit number `index` as (8, 8) of 0..1, 1 being full ink."""
    pixels, _ = _load()
    shade: NDArray[np.float32] = pixels[index] / np.float32(16)
    return shade


@cache
def instances(split: Split, digit: int) -> NDArray[np.int64]:
    """The indices of the drawings of `digit` that `split` owns.

    The drawings of one digit are dealt into the buckets in turn, so each split has its share.
    """
    _, labels = _load()
    index = np.flatnonzero(labels == digit)
    owned: NDArray[np.int64] = index[np.isin(np.arange(len(index)) % BUCKETS, split.buckets)]
    return owned
