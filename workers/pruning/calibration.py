"""Watching the inputs of matrices while a block runs: hooks that live inside `with` only."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from app.domain.errors import NonFiniteError
from workers.pruning.models.structure import Matrix
from workers.pruning.statistics import Statistic


class _SeenAll(Exception):  # noqa: N818 (control flow: the rest of the block is not needed)
    pass


S = TypeVar("S", bound=Statistic)
MaskOf = Callable[[torch.Tensor], torch.Tensor | None]


def _all_real(_inputs: torch.Tensor) -> None:
    return None


class Calibration(Generic[S]):
    """Statistics of the inputs of matrices, one accumulator per distinct input.

    Projections that are handed the very same tensor in a call (q/k/v, gate/up) share one
    reduction. A projection is taken to run once in a call of its block.
    """

    def __init__(self, statistic: type[S]) -> None:
        """Accumulate `statistic`."""
        self._statistic = statistic
        self._sums: dict[tuple[nn.Module, ...], S] = {}
        self._callers: frozenset[nn.Module] = frozenset()
        self._unseen: set[nn.Module] = set()
        self._pending: tuple[torch.Tensor, list[nn.Module]] | None = None
        self._samples = 0
        self._mask_of: MaskOf = _all_real
        self._stop = False

    @contextmanager
    def watching(self, matrices: Iterable[Matrix], module: nn.Module) -> Iterator[None]:
        """Hook the callers of `matrices` inside `module`; gone again on any exception."""
        inside = set(module.modules())
        self._callers = frozenset(c for m in matrices for c in m.callers if c in inside)
        handles = [caller.register_forward_pre_hook(self._see) for caller in self._callers]
        try:
            yield
        finally:
            self._pending = None
            for handle in handles:
                handle.remove()

    @contextmanager
    def call(self, samples: int, mask_of: MaskOf, *, stop: bool) -> Iterator[None]:
        """Around one call of the block.

        Args:
            samples: how many calibration samples the call holds.
            mask_of: tells which tokens of a matrix's input are real: True at these, of the shape
                of the input without its last dimension; None when all are.
            stop: leave the `with` before the projection whose input is seen last is multiplied out.
        """
        self._unseen = set(self._callers)
        self._samples, self._mask_of, self._stop = samples, mask_of, stop
        with suppress(_SeenAll):
            yield
        self._reduce()

    def of(self, matrix: Matrix) -> S | None:
        """What all callers of the matrix saw together; None when they never saw a token.

        Raises:
            NonFiniteError: an activation was NaN or infinite.
        """
        found = [s for c in matrix.callers for group, s in self._sums.items() if c in group]
        if not found:
            return None
        result = found[0]
        if len(found) > 1:
            result = found[0].empty()
            for part in found:
                result.merge(part)
        if not result.finite():
            raise NonFiniteError(f"the inputs of {matrix.name} hold NaN or infinite values")
        return result

    def forget(self, matrices: Iterable[Matrix]) -> None:
        """Free what only these matrices need."""
        done = {caller for matrix in matrices for caller in matrix.callers}
        self._sums = {g: s for g, s in self._sums.items() if not done.issuperset(g)}

    def _see(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        inputs = args[0]
        if self._pending is not None and self._pending[0] is inputs:
            self._pending[1].append(module)
        else:
            self._reduce()
            self._pending = (inputs, [module])
        self._unseen.discard(module)
        if self._stop and not self._unseen:
            raise _SeenAll

    def _reduce(self) -> None:
        """Add the pending input to the sums of the modules that were handed it."""
        if self._pending is None:
            return
        inputs, modules = self._pending
        self._pending = None
        mask = self._mask_of(inputs)
        tokens = inputs.reshape(-1, inputs.shape[-1]) if mask is None else inputs[mask]
        group = tuple(modules)
        if group not in self._sums:
            self._sums[group] = self._statistic(inputs.shape[-1], inputs.device)
        self._sums[group].add(tokens, self._samples)
