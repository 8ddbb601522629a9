"""Statistics of the inputs of matrices, accumulated while a block runs, batch by batch.

`Calibration` replaces the forwards of the matrices' modules inside a `with` only.

Batches are reduced in float32 (half precision is widened first) and the sums kept in float64, so
that neither the number of samples nor the order of batches moves a result beyond rounding.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from app.errors import NonFiniteError
from workers.pruning.models.layout.experts import ExpertProjection, Routed
from workers.pruning.models.layout.forwards import Forward, replaced
from workers.pruning.models.layout.structure import Matrix

_ROWS = 256  # tokens squared at a time: stays in cache
_PANEL = 192  # rows of a second moment computed at a time: what lies below them is left out
# On a GPU fewer and larger steps: each costs a launch.
_ROWS_ON_DEVICE = 1 << 13
_PANEL_ON_DEVICE = 2048


class Statistic(ABC):
    """A streaming sum over calibration tokens; its size does not depend on how many there were.

    Attributes:
        total: the sum, float64.
        samples: how many calibration samples it covers.
        tokens: how many tokens they had.
        zeros_add_nothing: tokens of zeros may be shown in place of padding.
    """

    zeros_add_nothing: ClassVar[bool] = True

    def __init__(self, features: int, device: torch.device) -> None:
        """Start at zero for inputs of so many dimensions."""
        self.total = torch.zeros(self._shape(features), dtype=torch.float64, device=device)
        self.samples = 0
        self.tokens = 0

    def add(self, tokens: torch.Tensor, samples: int) -> None:
        """Take in (tokens, features) of any float dtype, padding left out, of so many samples."""
        self.samples += samples
        self.tokens += len(tokens)
        self._accumulate(tokens)

    def merge(self, other: Self) -> None:
        """Take in what another shard, or another caller of a tied weight, has seen."""
        self.total += other.total
        self.samples += other.samples
        self.tokens += other.tokens

    @classmethod
    def size(cls, features: int) -> int:
        """Bytes of the sum over inputs of so many dimensions."""
        return torch.float64.itemsize * math.prod(cls._shape(features))

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
        step = _ROWS if tokens.device.type == "cpu" else _ROWS_ON_DEVICE
        for rows in torch.split(tokens, step):
            wide = rows.float()
            self.total += (wide * wide).sum(0)


class Hessian(Statistic):
    """Sum of x x^T, (features, features).

    Only the upper triangle is right; what lies below the diagonal is to be ignored.
    """

    @staticmethod
    def _shape(features: int) -> tuple[int, ...]:
        return (features, features)

    def roots(self) -> torch.Tensor:
        """Root of the mean square of every input, (features,), float32."""
        return (self.total.diagonal() / max(self.samples, 1)).sqrt().float()

    def moments(self) -> torch.Tensor:
        """Mean of x x^T, (features, features), float32; the upper triangle alone is right."""
        return means(self.total, self.samples)

    def _accumulate(self, tokens: torch.Tensor) -> None:
        wide = widened(tokens)
        for panel in panels(self.total):
            self.total[panel, panel.start :] += product(wide[:, panel], wide[:, panel.start :])


def mirrored(moments: torch.Tensor) -> torch.Tensor:
    """Second moments of which the upper triangle alone is right, made whole in place."""
    return moments.triu_().add_(moments.triu(1).T)


def means(sums: torch.Tensor, samples: int) -> torch.Tensor:
    """Sums over so many samples, (features, features), as means in float32.

    Panel by panel: such sums are the largest of all that a run holds.
    """
    found = torch.empty_like(sums, dtype=torch.float32)
    for panel in panels(sums):
        found[panel] = sums[panel] / max(samples, 1)
    return found


def panels(sums: torch.Tensor, rows: int = _PANEL) -> Iterator[slice]:
    """Rows of (features, features) that are worked on at a time; more of them on a GPU."""
    step = max(rows, _PANEL_ON_DEVICE) if sums.device.type == "cuda" else rows
    for start in range(0, len(sums), step):
        yield slice(start, start + step)


def widened(tokens: torch.Tensor) -> torch.Tensor:
    """As they are multiplied: half precision on a GPU alone."""
    if tokens.device.type == "cuda" and tokens.dtype in {torch.bfloat16, torch.float16}:
        return tokens
    return tokens.float()


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left^T right of two (tokens, features) that are widened, in float32.

    A GPU's products of half precision are exact there, and summed so.
    """
    if left.dtype == torch.float32:
        return left.T @ right
    return torch.mm(left.T, right, out_dtype=torch.float32)


def squares_of(hessian: Hessian) -> SquareSum:
    """The sums of squares among the second moments."""
    found = SquareSum(len(hessian.total), hessian.total.device)
    found.total = hessian.total.diagonal().clone()
    found.samples, found.tokens = hessian.samples, hessian.tokens
    return found


class _Needed(Exception):  # noqa: N818 (control flow: something depends on a product left out)
    pass


class _Watchful(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Lets no decision be made on values: a branch or a shape may depend on what was left out."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            raise _Needed
        return func(*args, **(kwargs or {}))


S = TypeVar("S", bound=Statistic)
MaskOf = Callable[[torch.Tensor], torch.Tensor | None]
Group = tuple[nn.Module, ...]
"""Modules that are handed the very same tensor."""


class Calibration(Generic[S]):
    """Statistics of the inputs of matrices, one accumulator per distinct input.

    Projections that are handed the very same tensor one after the other (q/k/v, gate/up) share one
    reduction. A projection that a block calls several times is counted every time, and the samples
    of the call once. An expert is shown the tokens routed to it, and has seen the samples of a call
    that routes none to it.
    """

    def __init__(self, statistic: type[S]) -> None:
        """Accumulate `statistic`."""
        self._statistic = statistic
        self._sums: dict[Group, S] = {}
        self._missed = Counter[nn.Module]()
        self._callers: tuple[nn.Module, ...] = ()
        self._batch = -1
        self._calls_of = Counter[Group]()
        self._pending: PendingInput | None = None
        self._samples = 0
        self._mask_of: MaskOf = lambda _inputs: None
        self._may_spare = True
        self._running = False
        self._after = ExitStack()
        self._seen: set[nn.Module] = set()
        self._begin(spare=False, skip=0)

    @contextmanager
    def watching(self, matrices: Iterable[Matrix], module: nn.Module) -> Iterator[None]:
        """Watch the callers of `matrices` inside `module` in every `run`; all as before at the end.

        What runs beside it, to find what a block is called with, is not counted.
        """
        inside = set(module.modules())
        self._batch = -1
        self._callers = tuple(dict.fromkeys(c for m in matrices for c in m.callers if c in inside))
        self._may_spare = all(type(caller) in {nn.Linear, Conv1D} for caller in self._callers)
        try:
            with replaced(self._callers, self._stand_in):
                yield
        finally:
            self._pending = None

    def run(self, forward: Callable[[], Any], samples: int, mask_of: MaskOf, *, spare: bool) -> Any:
        """One call of the block.

        Args:
            forward: the call.
            samples: how many calibration samples it holds.
            mask_of: tells which tokens of a matrix's input are real: True at these, of the shape
                of the input without its last dimension; None when all are.
            spare: the output is not wanted. The product of the projection that is called last is
                left out; where another one is called after it nonetheless, or could be, the call
                is made again.

        Returns:
            What the block returns; to be thrown away where something was spared.
        """
        if spare and not self._callers:
            return None
        self._samples, self._mask_of = samples, mask_of
        self._batch += 1
        self._calls_of.clear()
        self._seen = set()
        self._begin(spare=spare and self._may_spare, skip=0)
        self._running = True
        try:
            with ExitStack() as self._after:
                output = forward()
        except _Needed:
            self._may_spare = False
            self._begin(spare=False, skip=self._calls)
            output = forward()
        finally:
            self._running = False
        self._reduce()
        self._count_unrouted()
        return output

    def _count_unrouted(self) -> None:
        """The samples of a call in which an expert was shown no token count for it too."""
        for caller in self._callers:
            if isinstance(caller, ExpertProjection) and caller not in self._seen:
                if (known := self._sums.get((caller,))) is not None:
                    known.samples += self._samples
                else:
                    self._missed[caller] += self._samples

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

    def take_in(
        self, group: Group, inputs: torch.Tensor, *, batch: int, samples: int, mask_of: MaskOf
    ) -> None:
        """Add what the modules were handed in their only call, where somebody else watches."""
        self._batch, self._samples, self._mask_of = batch, samples, mask_of
        self._calls_of.clear()
        self._pending = PendingInput(inputs, list(group), again=False, routed=None)
        self._reduce()

    def in_order(self, matrices: Iterable[Matrix]) -> list[tuple[list[Matrix], Group | None]]:
        """The matrices by their inputs, in the order in which the block asks for them.

        With the modules that are handed the input; None where it is not one input, once. Those
        that were handed nothing come last.
        """
        groups: dict[Group, list[Matrix]] = {group: [] for group in self._sums}
        others: list[Matrix] = []
        for matrix in matrices:
            mine = next((g for g in groups if not set(g).isdisjoint(matrix.callers)), None)
            (others if mine is None else groups[mine]).append(matrix)
        asked = {module for group in groups for module in group}
        found: list[tuple[list[Matrix], Group | None]] = []
        for group, some in groups.items():
            callers = asked.intersection(caller for matrix in some for caller in matrix.callers)
            once = callers == set(group) and self._calls_of[group] == 1
            if some:
                found.append((some, group if once else None))
        return [*found, (others, None)] if others else found

    def forget(self, matrices: Iterable[Matrix], needed: Iterable[Matrix] = ()) -> None:
        """Free what only these matrices need, and none of those still needed."""
        done = {caller for matrix in matrices for caller in matrix.callers}
        done.difference_update(caller for matrix in needed for caller in matrix.callers)
        self._sums = {g: s for g, s in self._sums.items() if not done.issuperset(g)}

    def _begin(self, *, spare: bool, skip: int) -> None:
        """Before a call of the block, of which the first `skip` calls are counted already."""
        self._spare, self._skip = spare, skip
        self._calls = 0
        self._spared: nn.Module | None = None

    def _see(self, module: nn.Module, inputs: torch.Tensor, routed: Routed | None) -> None:
        if self._spared is not None:
            raise _Needed
        self._calls += 1
        if self._calls <= self._skip:
            return
        again = module in self._seen
        pending = self._pending
        if pending is not None and pending.tensor is inputs and pending.again == again:
            pending.modules.append(module)
        else:
            self._reduce()
            self._pending = PendingInput(inputs, [module], again=again, routed=routed)
        self._seen.add(module)
        if self._spare and len(self._seen) == len(self._callers):
            self._spared = module

    def _stand_in(self, index: int, forward: Forward) -> Forward:
        module = self._callers[index]

        def run(*args: Any, **kwargs: Any) -> Any:
            if not self._running:
                return forward(*args, **kwargs)
            inputs = args[0] if args else next(iter(kwargs.values()))
            routed = args[-1] if isinstance(module, ExpertProjection) else None
            self._see(module, inputs, routed)
            if self._spared is module:
                self._after.enter_context(_Watchful())  # type: ignore[no-untyped-call]  # torch's
                width = module.nf if isinstance(module, Conv1D) else module.out_features
                return inputs.new_zeros((*inputs.shape[:-1], width))
            return forward(*args, **kwargs)

        return run

    def _reduce(self) -> None:
        """Add the pending input to the sums of the modules that were handed it."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        inputs, modules = pending.tensor, pending.modules
        routed = pending.routed
        mask = self._mask_of(inputs) if routed is None else routed.mask(self._mask_of)
        zeroed = self._statistic.zeros_add_nothing and inputs.device.type != "cpu"
        if mask is not None and routed is None and zeroed:
            # To choose rows is to wait for the device; zeros add nothing. An expert's are counted.
            inputs, mask = inputs.masked_fill(~mask[..., None], 0), None
        tokens = inputs.reshape(-1, inputs.shape[-1]) if mask is None else inputs[mask]
        group = tuple(modules)
        if group not in self._sums:
            self._sums[group] = self._statistic(inputs.shape[-1], inputs.device)
            self._sums[group].samples += self._missed.pop(modules[0], 0)
        self._add(group, tokens, 0 if pending.again else self._samples)
        self._calls_of[group] += 1

    def _add(self, group: Group, tokens: torch.Tensor, samples: int) -> None:
        """Take in what the modules were handed in this call."""
        self._sums[group].add(tokens, samples)


class PendingInput:
    """An input that waits for the modules that are handed it."""

    def __init__(
        self,
        tensor: torch.Tensor,
        modules: list[nn.Module],
        *,
        again: bool,
        routed: Routed | None,
    ) -> None:
        self.tensor = tensor
        self.modules = modules
        self.again = again
        self.routed = routed
