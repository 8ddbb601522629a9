"""Train the weights that a block has left towards what the dense block gave.

Weights are trained in float32, whatever they are stored in: copies of the block's matrices stand in
for them while it lasts. Adam, its rate relative to the root mean square of each matrix's weights,
rising over the first tenth of the steps and falling to zero. Own design; distillation of pruned
blocks is common, for example in Guo et al. (EBFT), arXiv 2402.12419.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from app.recipes.recovery import Recovery
from workers.pruning.calibration.beside import is_held_out
from workers.pruning.calibration.walk import Step
from workers.pruning.models.layout.forwards import Forward, hidden_of, replaced
from workers.pruning.models.layout.structure import Matrix

RATES = (0.2, 0.1, 0.03)
_TRIED = 0.2  # of the steps, to choose a rate
_WARMUP = 0.1


@dataclass(frozen=True, slots=True)
class Recovered:
    """What training a block came to.

    Attributes:
        before: squared distance from the dense block's outputs on what was held out, as a share
            of their squares.
        after: the same with the weights that are kept.
        rate: that was taken; None where the weights stay as they were.
    """

    before: float
    after: float
    rate: float | None


class BlockRecovery:
    """One block, what it is fed, and what it shall give."""

    def __init__(self, step: Step, outputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> None:
        """Copy the weights.

        Args:
            step: the pruned block with what it is fed.
            outputs: what the dense block gave for each batch, in the dense model.
            matrices: of the block; those whose layers hold them as their whole weight, or in rows,
                are trained.
        """
        self._step = step
        self._outputs = outputs
        self._layers = _layers(step, matrices)
        self._weights = {
            m: m.fetch().float().clone() for each in self._layers.values() for m in each
        }
        self._gone = {matrix: weight == 0 for matrix, weight in self._weights.items()}
        batches = range(len(step.passes))
        self._held = [number for number in batches if is_held_out(number, len(batches))]
        self._shown = [number for number in batches if number not in self._held]

    def run(self, settings: Recovery) -> Recovered | None:
        """Train, and store the weights where they are better.

        None where no batch is held out, or the block has no layer that can be trained.
        """
        if not self._held or not self._weights:
            return None
        start = {matrix: weight.clone() for matrix, weight in self._weights.items()}
        before = self._error()
        rates = RATES if settings.learning_rate is None else (settings.learning_rate,)
        rate = rates[0]
        if len(rates) > 1:
            tried = max(1, round(_TRIED * settings.steps))
            errors = {each: self._trained(start, each, tried) for each in rates}
            rate = min(errors, key=lambda each: errors[each])
        after = self._trained(start, rate, settings.steps)
        if not after < before:
            return Recovered(before, before, None)
        for matrix, values in self._weights.items():
            weight = matrix.fetch()
            weight.copy_(values)
            weight.masked_fill_(self._gone[matrix], 0)
            matrix.put_back(weight)
        return Recovered(before, after, rate)

    def _trained(self, start: Mapping[Matrix, Tensor], rate: float, steps: int) -> float:
        """The error on what is held out, after so many steps from the start."""
        groups = []
        for matrix, weight in self._weights.items():
            weight.copy_(start[matrix])
            size = float(start[matrix].square().sum() / max(1, int(start[matrix].count_nonzero())))
            groups.append({"params": [weight], "lr": rate * size**0.5})
        optimiser = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: _rate_at(at, steps))
        for at in range(steps):
            number = self._shown[at % len(self._shown)]
            with torch.enable_grad(), self._standing_in(trained=True):
                loss, energy = self._missed(number)
                (loss / energy).backward()  # type: ignore[no-untyped-call]  # torch's
            for matrix, weight in self._weights.items():
                if weight.grad is not None:
                    weight.grad.masked_fill_(self._gone[matrix], 0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        return self._error()

    @torch.no_grad()
    def _error(self) -> float:
        missed = energy = 0.0
        with self._standing_in(trained=False):
            for number in self._held:
                some, whole = self._missed(number)
                missed, energy = missed + float(some), energy + float(whole)
        return missed / energy if energy else 0.0

    def _missed(self, number: int) -> tuple[Tensor, Tensor]:
        """Squared distance from what the block shall give for a batch, and the squares of that."""
        each, _ = self._step.passes[number]
        args, kwargs = each.inputs(self._step.index)
        given = hidden_of(self._step.block.module(*args, **kwargs))
        wanted = self._outputs[number].to(given.device)
        mask = each.mask_of(wanted)
        if mask is not None:
            given, wanted = given[mask], wanted[mask]
        each.rest()
        return (given.float() - wanted.float()).square().sum(), wanted.float().square().sum()

    @contextmanager
    def _standing_in(self, *, trained: bool) -> Iterator[None]:
        layers = list(self._layers)
        own = [each for each in self._step.block.module.parameters() if each.requires_grad]
        for parameter in own:
            parameter.requires_grad_(False)  # norms and biases stay as they are
        for weight in self._weights.values():
            weight.requires_grad_(trained)
        try:
            with replaced(layers, lambda at, _own: self._forward(layers[at])):
                yield
        finally:
            for weight in self._weights.values():
                weight.requires_grad_(False)
            for parameter in own:
                parameter.requires_grad_(True)

    def _forward(self, layer: Any) -> Forward:
        parts = [self._weights[matrix] for matrix in self._layers[layer]]

        def run(inputs: Tensor) -> Tensor:
            weight = parts[0] if len(parts) == 1 else torch.cat(parts)
            return functional.linear(inputs, weight.to(inputs.dtype), layer.bias)

        return run


def _rate_at(at: int, steps: int) -> float:
    return min(1.0, (at + 1) / max(1.0, _WARMUP * steps)) * (1 - at / steps)


def _layers(step: Step, matrices: Sequence[Matrix]) -> dict[nn.Module, list[Matrix]]:
    """The block's linear layers whose weights are these matrices, in the order of their rows."""
    inside = set(step.block.module.modules())
    found: dict[nn.Module, list[Matrix]] = {}
    for matrix in matrices:
        [*callers] = matrix.callers
        if len(callers) != 1 or callers[0] not in inside or matrix.routed:
            continue
        if type(callers[0]) in {nn.Linear, Conv1D}:
            found.setdefault(callers[0], []).append(matrix)
    whole = {}
    for layer, parts in found.items():
        rows = sum(len(part.weight) for part in parts)
        contiguous = len(parts) == 1 or all(isinstance(p.place.rows, slice) for p in parts)
        if rows == (layer.nf if isinstance(layer, Conv1D) else layer.out_features) and contiguous:
            whole[layer] = sorted(parts, key=_first_row)
    return whole


def _first_row(matrix: Matrix) -> int:
    rows = matrix.place.rows
    return rows.start or 0 if isinstance(rows, slice) else 0
