"""Second moments of inputs with their mean, and tokens that are held out of both."""

from typing import ClassVar

import torch
from torch import Tensor

from workers.pruning.calibration.statistics import Hessian, mirrored

_EVERY = 4  # one of so many tokens is held out, whole records as far as that goes
MOST_HELD = 2048


class Moments(Hessian):
    """Sum of x x^T and of x over most tokens; a few of each batch are kept as they are.

    Attributes:
        sums: sum of x, (features,) float64.
        counted: tokens in the sums.
        held: tokens that are in neither sum.
    """

    zeros_add_nothing: ClassVar[bool] = False  # they would move the mean

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero."""
        super().__init__(features, device)
        self.sums = torch.zeros(features, dtype=torch.float64, device=device)
        self.counted = 0
        self.held: list[Tensor] = []

    def merge(self, other: "Moments") -> None:
        """Take in what another caller of a tied weight has seen."""
        super().merge(other)
        self.sums += other.sums
        self.counted += other.counted
        self.held += other.held

    def _accumulate(self, tokens: Tensor) -> None:
        room = MOST_HELD - sum(map(len, self.held))
        count = min(len(tokens) // _EVERY, room)
        if count:
            self.held.append(tokens[len(tokens) - count :].clone())
        self._sum(tokens[: len(tokens) - count])

    def take_in_held(self) -> None:
        """Sum the tokens that were held out too."""
        for tokens in self.held:
            self._sum(tokens)
        self.held.clear()

    def _sum(self, tokens: Tensor) -> None:
        super()._accumulate(tokens)
        self.sums += tokens.float().sum(0)
        self.counted += len(tokens)

    def finite(self) -> bool:
        """Whether everything seen is finite."""
        return super().finite() and all(bool(torch.isfinite(each.sum())) for each in self.held)

    def second(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Second moments, or covariances, (features, features), and means, (features,); float32."""
        count = max(self.counted, 1)
        mean = self.sums / count
        full = mirrored(self.total / count)
        if centred:
            full.addr_(mean, mean, alpha=-1)
        return full.float(), mean.float()
