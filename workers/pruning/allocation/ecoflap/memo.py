"""Skipping what a perturbation has not touched.

A module computes the same output from the same arguments. So a forward pass that differs from a
recorded one in a single matrix need not run blocks before that matrix, towers beside it, or the
projections beside it in its own block: wherever arguments are equal bit by bit to recorded ones,
the recorded output stands in, unless the model has written to it since. Nothing has to be known
about how a model's towers are wired.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from workers.pruning.models.layout.forwards import Args, Forward, Kwargs, replaced, with_own_cache


class _Recorded:
    """One call."""

    def __init__(self, args: Args, kwargs: Kwargs, output: Any) -> None:
        self.args, self.kwargs, self.output = args, kwargs, output
        self._versions = self._now()

    def is_as_it_was(self) -> bool:
        """Whether the output is as it was returned: some models write to it."""
        return self._now() == self._versions

    def _now(self) -> list[tuple[int, int]]:
        tensors = (leaf for leaf in tree_leaves(self.output) if isinstance(leaf, Tensor))
        return [(id(x), x._version) for x in tensors]  # noqa: SLF001 - torch counts writes here


class Memo:
    """What modules returned for which arguments, over one or several forward passes."""

    def __init__(self) -> None:
        self._calls: dict[nn.Module, list[_Recorded]] = defaultdict(list)

    def find(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[bool, Any]:
        """Whether the module was recorded with these arguments, and what it returned."""
        for call in self._calls.get(module, ()):
            if same(args, call.args) and same(kwargs, call.kwargs) and call.is_as_it_was():
                return True, call.output
        return False, None

    def run_again(self, module: nn.Module) -> None:
        """Call the module with everything it was recorded with."""
        for call in self._calls.get(module, ()):
            module(*call.args, **call.kwargs)

    def splits(self, modules: Iterable[nn.Module], parts: int) -> bool:
        """Whether the first dimension of all their recorded inputs has so many equal parts."""
        return all(
            len(call.args[0]) % parts == 0
            for module in modules
            for call in self._calls.get(module, ())
        )

    @contextmanager
    def recording(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Remember every call of the modules."""
        listed = list(modules)

        def stand_in(index: int, forward: Forward) -> Forward:
            module = listed[index]

            def run(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = with_own_cache(args, kwargs)
                output = forward(*args, **kwargs)
                self._calls[module].append(_Recorded(args, kwargs, output))
                return output

            return run

        with replaced(listed, stand_in):
            yield

    @contextmanager
    def skipping(self, touched: Collection[nn.Module]) -> Iterator[None]:
        """Recorded modules return what they did wherever they can, unless they hold `touched`."""
        listed = [m for m in self._calls if set(touched).isdisjoint(m.modules())]

        def stand_in(index: int, forward: Forward) -> Forward:
            module = listed[index]

            def run(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = with_own_cache(args, kwargs)
                known, output = self.find(module, args, kwargs)
                return output if known else forward(*args, **kwargs)

            return run

        with replaced(listed, stand_in):
            yield


def same(one: Any, other: Any) -> bool:
    """Bitwise equality of nested arguments."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, bool | int | float | str) and one == other
