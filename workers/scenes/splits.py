"""Which split a layout, a digit or a random stream belongs to.

Layouts and digits are dealt into `BUCKETS` numbered buckets and every split owns some of them, so
the splits are disjoint however many samples are drawn from them and whatever the seeds are.
"""

from enum import StrEnum
from hashlib import sha256

import numpy as np

BUCKETS = 20


class Split(StrEnum):
    """What the data may be used for. Hyperparameters are chosen on `validation`."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    VALIDATION = "validation"
    TEST = "test"

    @property
    def buckets(self) -> range:
        """The buckets this split owns; together the splits own each bucket once."""
        return _BUCKETS[self]

    def rng(self, seed: int, *stream: int) -> np.random.Generator:
        """The random stream of one sample; equal arguments give equal draws, in any order."""
        return np.random.default_rng([list(Split).index(self), seed, *stream])


_BUCKETS = {
    Split.TRAIN: range(15),
    Split.CALIBRATION: range(15, 16),
    Split.VALIDATION: range(16, 17),
    Split.TEST: range(17, 20),
}


def bucket(key: str) -> int:
    """The bucket of a layout's key, by hash: the same on every machine and in every process."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") % BUCKETS
