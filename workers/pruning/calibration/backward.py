"""Backward passes over the calibration batches, reduced batch by batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

from app.errors import NonFiniteError
from workers.pruning.calibration.gradients import each_gradient
from workers.pruning.calibration.walk import samples_of
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix

TakeRow: TypeAlias = Callable[[int, Matrix, torch.Tensor], None]
"""Given the batch's number, a matrix and its gradient (out, in); must not keep the gradient."""


@dataclass(frozen=True, slots=True)
class Backward:
    """The batches, differentiated as often as a criterion asks.

    Attributes:
        adapter: the model, with its loss.
        batches: calibration inputs.
        done: told the number of the batch that is done, and how many there are.
    """

    adapter: Adapter
    batches: Sequence[Batch]
    done: Callable[[int, int], None]

    def each(self, matrices: Iterable[Matrix], take: TakeRow) -> None:
        """Show the gradient of every matrix for every batch, one at a time."""
        wanted = tuple(matrices)
        for number, batch in enumerate(self.batches):
            each_gradient(self.adapter, batch, wanted, partial(take, number))
            self.done(number + 1, len(self.batches))

    def sums(
        self, matrices: Iterable[Matrix], *, per_sample: bool = False
    ) -> dict[Matrix, torch.Tensor]:
        """Sum of the gradients over the batches: (out, in), float32, as large as the weights.

        What is beyond the limit on activations lies on disk.

        Args:
            matrices: those wanted; one that the loss does not depend on is missing in the result.
            per_sample: divide each batch's gradient by its number of samples.

        Raises:
            NonFiniteError: a gradient is NaN or infinite; its matrix is named.
        """
        memory, total = self.adapter.memory, dict[Matrix, torch.Tensor]()

        def add(number: int, matrix: Matrix, gradient: torch.Tensor) -> None:
            share = 1 / samples_of(self.batches[number]) if per_sample else 1.0
            if matrix not in total:
                zeros = torch.zeros_like(gradient, dtype=torch.float32)
                total[matrix] = memory.keep(zeros)
            total[matrix].add_(gradient.to(total[matrix].device), alpha=share)
            memory.rest(total[matrix])

        self.each(matrices, add)
        for matrix, gradient in total.items():
            if not bool(torch.isfinite(gradient).all()):
                raise NonFiniteError(f"the gradient of {matrix.name} holds NaN or infinite values")
            memory.rest(gradient)
        return total

    def rows(self, matrices: Iterable[Matrix]) -> dict[Matrix, torch.Tensor]:
        """One row per batch, one column per weight: (batches, out * in), float32."""
        wanted = tuple(matrices)
        made = {
            m: m.fetch().new_zeros(len(self.batches), m.numel, dtype=torch.float32) for m in wanted
        }

        def put(number: int, matrix: Matrix, gradient: torch.Tensor) -> None:
            made[matrix][number].view(gradient.shape).copy_(gradient)

        self.each(wanted, put)
        return made
