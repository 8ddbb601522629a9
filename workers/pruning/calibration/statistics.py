"""What a criterion may ask about a matrix's inputs, accumulated batch by batch.

Batches are reduced in float32 (half precision is widened first) and the sums kept in float64, so
that neither the number of samples nor the order of batches moves a result beyond rounding.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch

_ROWS = 256  # tokens squared at a time: stays in cache
_PANEL = 512  # rows of a second moment computed at a time


class Statistic(ABC):
    """A streaming sum over calibration tokens; its size does not depend on how many there were.

    Attributes:
        total: the sum, float64.
        samples: how many calibration samples it covers.
    """

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero for inputs of so many dimensions."""
        self.total = torch.zeros(self._shape(features), dtype=torch.float64, device=device)
        self.samples = 0

    def add(self, tokens: torch.Tensor, samples: int) -> None:
        """Take in (tokens, features) of any float dtype, padding left out, of so many samples."""
        self.samples += samples
        self._accumulate(tokens)

    def merge(self, other: Self) -> None:
        """Take in what another shard, or another caller of a tied weight, has seen."""
        self.total += other.total
        self.samples += other.samples

    def empty(self) -> Self:
        """A new one for inputs of the same dimensions."""
        return type(self)(self.total.shape[-1], self.total.device)

    def finite(self) -> bool:
        """Whether every sum is finite: then so is their own sum."""
        return bool(torch.isfinite(self.total.sum()))

    @property
    def mean(self) -> torch.Tensor:
        """Sum per sample, float64."""
        return self.total / max(self.samples, 1)

    @staticmethod
    @abstractmethod
    def _shape(features: int) -> tuple[int, ...]:
        """Shape of `total`."""

    @abstractmethod
    def _accumulate(self, tokens: torch.Tensor) -> None:
        """Add the tokens to `total`."""


class SquareSum(Statistic):
    """Sum of squares of every input feature, (features,)."""

    @staticmethod
    def _shape(features: int) -> tuple[int, ...]:
        return (features,)

    def _accumulate(self, tokens: torch.Tensor) -> None:
        for rows in torch.split(tokens, _ROWS):
            wide = rows.float()
            self.total += (wide * wide).sum(0)


class Hessian(Statistic):
    """Sum of x x^T, (features, features).

    Only the upper triangle is right; what lies below the diagonal is to be ignored.
    """

    @staticmethod
    def _shape(features: int) -> tuple[int, ...]:
        return (features, features)

    def _accumulate(self, tokens: torch.Tensor) -> None:
        wide = tokens.float()
        for start in range(0, len(self.total), _PANEL):
            panel = slice(start, start + _PANEL)
            self.total[panel, start:] += wide[:, panel].T @ wide[:, start:]
