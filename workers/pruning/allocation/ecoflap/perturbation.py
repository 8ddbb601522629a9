"""One matrix shaken, its weights untouched."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.pruning.allocation.ecoflap.memo import Memo
from workers.pruning.memory import stored
from workers.pruning.models.layout.forwards import Forward, replaced
from workers.pruning.models.layout.structure import Matrix

Draw: TypeAlias = int
Shake: TypeAlias = tuple[Draw, float]  # which Z, and its factor: +eps or -eps


def noise(seed: int, matrix: Matrix, batch: int, draw: int) -> Tensor:
    """Z ~ N(0, 1), (out, in) float32: a function of these four and of nothing else."""
    counter = f"{seed}/{matrix.name}/{batch}/{draw}".encode()
    digest = hashlib.blake2b(counter, digest_size=8).digest()
    # A GPU draws its own: another stream of numbers, a hundred times as fast.
    drawn_on = matrix.device if matrix.device.type == "cuda" else torch.device("cpu")
    generator = torch.Generator(drawn_on).manual_seed(int.from_bytes(digest) >> 1)
    shape = (matrix.weight.shape[0], matrix.weight.shape[1])
    return torch.randn(shape, generator=generator, device=drawn_on).to(matrix.device)


class Perturbation:
    """A matrix W read as W + factor * Z by all its callers.

    Adds factor * x Z^T, made and added in float32, to what the callers return. A product made from
    a recorded input is kept and serves both signs.
    """

    def __init__(self, matrix: Matrix, noise_of: Callable[[Draw], Tensor], inside: Memo) -> None:
        """Take the matrix, its draws, and what its callers returned in the recorded passes."""
        self._matrix = matrix
        self._noise_of = noise_of
        self._inside = inside
        self._noise: dict[Draw, Tensor] = {}
        self._products: dict[tuple[int, Draw], Tensor] = {}

    @contextmanager
    def applied(self, shakes: Sequence[Shake]) -> Iterator[None]:
        """Callers see one shake per equal part of the first dimension of their input."""
        callers = self._matrix.callers

        def stand_in(index: int, forward: Forward) -> Forward:
            def run(inputs: Tensor) -> Tensor:
                known, output = self._inside.find(callers[index], (inputs,), {})
                if not known:
                    output = forward(inputs)
                return self._add(inputs, output, shakes, known=known)

            return run

        with replaced(callers, stand_in):
            yield

    def _add(
        self, inputs: Tensor, output: Tensor, shakes: Sequence[Shake], *, known: bool
    ) -> Tensor:
        shaken = output.clone()
        parts = zip(inputs.chunk(len(shakes)), shaken.chunk(len(shakes)), shakes, strict=True)
        first = inputs.chunk(len(shakes))[0]
        rows = self._matrix.place.rows
        for own, part, (draw, factor) in parts:
            # The parts of a recorded input are equal.
            call = id(output)
            product = self._product(call, first, draw) if known else self._times(own, draw)
            target = slice(None) if rows is None else rows
            part[..., target] = torch.add(part[..., target].float(), product, alpha=factor).to(part)
        return shaken

    def _product(self, call: int, inputs: Tensor, draw: Draw) -> Tensor:
        if (call, draw) not in self._products:
            self._products[call, draw] = self._times(inputs, draw)
        return self._products[call, draw]

    def _times(self, inputs: Tensor, draw: Draw) -> Tensor:
        if draw not in self._noise:
            self._noise[draw] = self._noise_of(draw)
        return functional.linear(inputs.float(), self._noise[draw])


@contextmanager
def swapped(matrix: Matrix, model: nn.Module, delta: Tensor) -> Iterator[None]:
    """A perturbed copy in the parameter's place: for packed attention, and experts.

    Which tokens an expert sees differs from copy to copy of a batch.

    The copy has the dtype that the model computes in: in half precision small perturbations round.
    """
    before = _shown(matrix, model)
    copy = nn.Parameter(before.detach().clone(), requires_grad=False)
    part = matrix.part_of(copy.detach())
    part.copy_(part.float() + delta)
    places = [
        (module._parameters, name)  # noqa: SLF001 - assignment would register anew and lose ties
        for module in model.modules()
        for name, parameter in module._parameters.items()  # noqa: SLF001 - the same
        if parameter is before
    ]
    try:
        for parameters, name in places:
            parameters[name] = copy
        yield
    finally:
        for parameters, name in places:
            parameters[name] = before


def readers(matrix: Matrix, model: nn.Module) -> list[nn.Module]:
    """Modules whose computation changes with the matrix: its callers, or else its owners."""
    if matrix.callers and not matrix.routed:
        return list(matrix.callers)
    return [
        module
        for module in model.modules()
        if any(stored(p) is matrix.parameter for p in module.parameters(recurse=False))
    ]


def _shown(matrix: Matrix, model: nn.Module) -> nn.Parameter:
    """The parameter that the model's code finds in the matrix's place."""
    return next((p for p in model.parameters() if stored(p) is matrix.parameter), matrix.parameter)
