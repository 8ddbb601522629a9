"""What a criterion may ask about a matrix's inputs, accumulated sample by sample.

Batches are reduced in float32 (half precision is widened first) and the sums kept in float64, so
that neither the number of samples nor the order of batches moves a result beyond rounding.
"""

from typing import Protocol, Self

import torch


class Statistic(Protocol):
    """A streaming sum over calibration tokens; its size does not depend on how many there were."""

    samples: int

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero for inputs of `features` dimensions."""

    def add(self, tokens: torch.Tensor, samples: int) -> None:
        """Take in (tokens, features) of any float dtype, padding left out, of so many samples."""

    def merge(self, other: Self) -> None:
        """Take in what another shard, or another caller of a tied weight, has seen."""

    def empty(self) -> Self:
        """A new one for inputs of the same dimension."""

    def finite(self) -> bool:
        """Whether every sum is finite."""


_ROWS = 256  # tokens squared at a time: stays in cache


class SquareSum:
    """Sum of squares of every input feature: `total` (features,), float64."""

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero."""
        self.total = torch.zeros(features, dtype=torch.float64, device=device)
        self.samples = 0

    def add(self, tokens: torch.Tensor, samples: int) -> None:
        """Add x_j^2 over the tokens."""
        self.samples += samples
        for rows in torch.split(tokens, _ROWS):
            wide = rows.float()
            self.total += (wide * wide).sum(0)

    def merge(self, other: Self) -> None:
        """Add the other's sums."""
        self.total += other.total
        self.samples += other.samples

    def empty(self) -> Self:
        """A new one for inputs of the same dimension."""
        return type(self)(len(self.total), self.total.device)

    def finite(self) -> bool:
        """Whether every sum is finite."""
        return bool(torch.isfinite(self.total).all())

    @property
    def mean(self) -> torch.Tensor:
        """Sum per sample, float64."""
        return self.total / max(self.samples, 1)


_PANEL = 512


class Hessian:
    """Second moment of the inputs: `total` (features, features) = sum of x x^T, float64.

    Only the upper block triangle is computed: the rest is its mirror image.
    """

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero."""
        self.total = torch.zeros(features, features, dtype=torch.float64, device=device)
        self.samples = 0

    def add(self, tokens: torch.Tensor, samples: int) -> None:
        """Add x x^T over the tokens, panel by panel."""
        self.samples += samples
        wide = tokens.float()
        for start in range(0, len(self.total), _PANEL):
            panel = slice(start, start + _PANEL)
            self.total[panel, start:] += wide[:, panel].T @ wide[:, start:]

    def merge(self, other: Self) -> None:
        """Add the other's sums."""
        self.total += other.total
        self.samples += other.samples

    def empty(self) -> Self:
        """A new one for inputs of the same dimension."""
        return type(self)(len(self.total), self.total.device)

    def finite(self) -> bool:
        """Whether every sum is finite."""
        return bool(torch.isfinite(self.total).all())

    @property
    def mean(self) -> torch.Tensor:
        """X x^T per sample, symmetric, float64."""
        upper = torch.triu(self.total / max(self.samples, 1))
        return upper + torch.triu(upper, 1).T
