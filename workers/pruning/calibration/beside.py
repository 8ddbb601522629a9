"""What the dense model feeds its matrices, beside what the pruned model feeds them.

Weights that stay can be solved for so that they give what the dense model gave, not what dense
weights would give on inputs that pruning has already moved: errors of earlier blocks are then made
up for. That takes the inputs x^ of the pruned model and x of the dense one, token by token, and
their second moments sum x^ x^T. Own measurements: `docs/explanation/reconstruction.md`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from workers.pruning.calibration.statistics import (
    Calibration,
    Group,
    Hessian,
    SquareSum,
    means,
    panels,
    product,
    widened,
)
from workers.pruning.memory import Memory

_HELD_OUT = 4
_SHOWN = 1024  # rows of moments at a time: for each of them all tokens held out are read again


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A batch that is held out; its tokens wait where activations wait.

    Attributes:
        kept: its inputs in the pruned and in the dense model, (tokens, features) each.
        samples: how many it holds.
        memory: that keeps them.
    """

    kept: tuple[Tensor, Tensor]
    samples: int
    memory: Memory


class PairedMoments(Hessian):
    """Second moments of the pruned model's inputs x^, and of them with the dense model's x.

    Attributes:
        cross: sum of x^ x^T, (features, features), float64: all of it is right; None before the
            first pair.
        held: the batches held out, which are in the sums too.
        paired: no token was without its partner.
    """

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero for inputs of so many dimensions."""
        super().__init__(features, device)
        self.cross: Tensor | None = None
        self.held: list[HeldOut] = []
        self.paired = True

    @property
    def complete(self) -> bool:
        """Whether `cross` covers all tokens."""
        return self.paired and self.cross is not None

    def add_pair(self, tokens: Tensor, dense: Tensor, samples: int) -> None:
        """Take in (tokens, features) of the pruned and of the dense model."""
        self.add(tokens, samples)
        if self.cross is None:
            self.cross = torch.zeros_like(self.total)
        left, right = widened(tokens), widened(dense)
        for panel in panels(self.cross):
            self.cross[panel] += product(left[:, panel], right)

    def merge(self, other: Self) -> None:
        """Take in what another caller of a tied weight has seen."""
        if self.cross is None:
            self.cross = None if other.cross is None else other.cross.clone()
        elif other.cross is not None:
            self.cross += other.cross
        super().merge(other)
        self.paired &= other.paired
        self.held += other.held

    @classmethod
    def size(cls, features: int) -> int:
        """Bytes of both sums."""
        return 2 * super().size(features)

    def finite(self) -> bool:
        """Whether every sum is finite."""
        known = self.cross is None or bool(torch.isfinite(self.cross.sum()))
        return known and super().finite()

    def cross_moments(self) -> Tensor:
        """Mean of x^ x^T, (features, features), float32."""
        return means(self._known_cross(), self.samples)

    def shown(self) -> tuple[Tensor, Tensor]:
        """`moments` and `cross_moments` over the batches that are not held out."""
        cross = self._known_cross()
        samples = max(self.samples - sum(each.samples for each in self.held), 1)
        found = (
            torch.zeros_like(self.total, dtype=torch.float32),
            torch.empty_like(cross, dtype=torch.float32),
        )
        for panel in panels(cross, _SHOWN):
            second, both = self.total[panel, panel.start :].clone(), cross[panel].clone()
            for tokens, dense in self.tokens_held_out():
                part = widened(tokens[:, panel])
                second -= product(part, widened(tokens[:, panel.start :]))
                both -= product(part, widened(dense))
            found[0][panel, panel.start :] = second / samples
            found[1][panel] = both / samples
        return found

    def tokens_held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs in the pruned and in the dense model, (tokens, features) each, batch by batch."""
        for each in self.held:
            pruned, dense = each.memory.back(each.kept)
            yield pruned, dense
            for tokens in each.kept:
                each.memory.rest(tokens)

    def _known_cross(self) -> Tensor:
        if self.cross is None:
            raise ValueError("there was no pair of tokens")
        return self.cross


class DenseInputs(Calibration[SquareSum]):
    """Records the inputs of a block's matrices in the dense model, call by call.

    They wait where activations wait. Experts are to be left out: other tokens are routed to them
    in the pruned model.
    """

    def __init__(self, memory: Memory) -> None:
        """Record nothing yet."""
        super().__init__(SquareSum)
        self.memory = memory
        self._found: dict[tuple[Group, int, int], Tensor] = {}

    @property
    def batches(self) -> int:
        """How many there are."""
        return self._batch + 1

    def of_call(self, group: Group, batch: int, call: int) -> Tensor | None:
        """What the modules were handed then, (tokens, features), as `memory` keeps it.

        None where that did not happen.
        """
        return self._found.get((group, batch, call))

    def forget_all(self) -> None:
        """The block is done."""
        self._found.clear()
        self._sums.clear()

    def _add(self, group: Group, tokens: Tensor, samples: int) -> None:
        del samples
        place = group, self._batch, self._calls_of[group]
        self._found[place] = self.memory.keep(tokens.clone())


class PairedCalibration(Calibration[PairedMoments]):
    """Sums the pruned model's inputs with the dense model's."""

    def __init__(self, dense: DenseInputs, *, hold_out: bool) -> None:
        """Take what is recorded of each block before it is run.

        Args:
            dense: inputs of the same block in the dense model.
            hold_out: keep the tokens of some batches apart too.
        """
        super().__init__(PairedMoments)
        self._dense = dense
        self._hold_out = hold_out

    def _add(self, group: Group, tokens: Tensor, samples: int) -> None:
        sums = self._sums[group]
        dense = self._dense.of_call(group, self._batch, self._calls_of[group])
        if dense is None or len(dense) != len(tokens):
            sums.paired = False
            sums.add(tokens, samples)
            return
        memory = self._dense.memory
        sums.add_pair(tokens, memory.back(dense), samples)
        if self._hold_out and is_held_out(self._batch, self._dense.batches):
            kept = memory.keep(tokens.clone()), dense
            sums.held.append(HeldOut(kept, samples, memory))


def is_held_out(batch: int, batches: int) -> bool:
    """Every fourth batch, the last one where there are fewer, none where there is one."""
    last = min(_HELD_OUT, batches) - 1
    return last > 0 and batch % _HELD_OUT == last
