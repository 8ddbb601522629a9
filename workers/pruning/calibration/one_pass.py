"""One pass of all batches through a block that waits for its matrices to be pruned.

Every batch runs in a greenlet of its own. It stops where the block asks for matrices that are not
pruned yet; when all batches have come there, the statistic of their inputs is complete, the
matrices are pruned, and all go on through the pruned weights. Every matrix is multiplied once. What
it holds is what the block has in hand of all batches at a time.

A batch whose block asks for matrices after their turn, while the first batch's did not, is out of
step: what follows is done by one pass for each turn, and that late input is not in the sums. Blocks
that choose by their values what they run do so among experts, which are not pruned in turns.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, cast

from greenlet import getcurrent, greenlet
from torch import Tensor, nn

from workers.pruning.calibration.statistics import Calibration, Group
from workers.pruning.calibration.walk import Step
from workers.pruning.models.layout.forwards import Forward, replaced
from workers.pruning.models.layout.structure import Matrix


class OutOfStepError(Exception):
    """A batch asks for matrices in another order than the first one did."""


class OnePass:
    """The batches on their way through a block."""

    def __init__(self, step: Step, groups: Sequence[Group]) -> None:
        """Let every batch wait at the beginning; `close` is to be called whatever happens.

        Args:
            step: the block with what it is fed.
            groups: modules that are handed one tensor, in the order in which the block asks.
        """
        self._step = step
        self._groups = groups
        self._number = {module: at for at, group in enumerate(groups) for module in group}
        self._batches: list[_Batch] = []
        for number, (each, samples) in enumerate(step.passes):
            args, kwargs = each.inputs(step.index)
            call = partial(step.block.module, *args, **kwargs)
            self._batches.append(_Batch(number, samples, step.mask_of(number), call))
        callers = list(self._number)
        self._replaced = replaced(callers, lambda at, own: self._stand_in(callers[at], own))
        self._replaced.__enter__()

    def close(self) -> None:
        """Give up what has not come to the end."""
        for batch in self._batches:
            batch.give_up()
        self._replaced.__exit__(None, None, None)

    def collect(self, calibration: Calibration[Any], number: int) -> None:
        """Run every batch up to a group of matrices, and show `calibration` what it is handed.

        Raises:
            OutOfStepError: a batch asks for a matrix twice, or too late; nothing has been shown.
        """
        found = [(batch, batch.up_to(number)) for batch in self._batches]
        for batch, inputs in found:
            if inputs is not None:
                calibration.take_in(
                    self._groups[number],
                    inputs,
                    batch=batch.number,
                    samples=batch.samples,
                    mask_of=batch.mask_of,
                )

    def advance(self) -> None:
        """Run every batch to the end of the block, and feed the next one.

        Raises:
            OutOfStepError: a batch asks for a matrix twice, or too late.
        """
        outputs = [batch.to_the_end() for batch in self._batches]
        for (each, _), output in zip(self._step.passes, outputs, strict=True):
            each.advance(self._step.index, output)
        self._step.advanced = True

    def _stand_in(self, module: nn.Module, forward: Forward) -> Forward:
        number = self._number[module]

        def run(*args: Any, **kwargs: Any) -> Any:
            batch = cast("_Greenlet", getcurrent()).batch
            batch.asks(module, number, args[0] if args else next(iter(kwargs.values())))
            return forward(*args, **kwargs)

        return run


class Turns:
    """Shows inputs of a block, group after group: in one pass while that goes, else in many."""

    def __init__(self, step: Step, groups: Sequence[Group | None], *, fits: bool) -> None:
        """Begin.

        Args:
            step: the block with what it is fed.
            groups: the modules of each turn; None where they are not handed one input once.
            fits: all batches may be in the block at a time.
        """
        self._step = step
        self._pass: OnePass | None = None
        known = [group for group in groups if group is not None]
        if fits and len(known) == len(groups):
            self._pass = OnePass(step, known)

    def collect(
        self, calibration: Calibration[Any], number: int, matrices: Sequence[Matrix]
    ) -> None:
        """Show the inputs of the matrices of a turn, as those of earlier turns leave them."""
        if self._pass is not None:
            try:
                self._pass.collect(calibration, number)
            except OutOfStepError:
                self.close()
            else:
                return
        self._step.collect(calibration, matrices)

    def end(self) -> None:
        """Feed the next block, where the pass has come so far."""
        if self._pass is not None:
            with suppress(OutOfStepError):
                self._pass.advance()

    def close(self) -> None:
        """Give up what has not come to the end."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None


class _Greenlet(greenlet):
    batch: "_Batch"


class _Batch:
    """One batch.

    Attributes:
        number: which one.
        samples: how many it holds.
        mask_of: see `Calibration.run`.
    """

    def __init__(
        self,
        number: int,
        samples: int,
        mask_of: Callable[[Tensor], Tensor | None],
        forward: Callable[[], Any],
    ) -> None:
        self.number, self.samples, self.mask_of = number, samples, mask_of
        self._greenlet = _Greenlet(forward)
        self._greenlet.batch = self
        self._greenlet.gr_context = copy_context()
        self._walk = getcurrent()
        self._at = -1
        self._inputs: Tensor | None = None
        self._asked: set[nn.Module] = set()
        self._output: Any = None

    def up_to(self, number: int) -> Tensor | None:
        """What the group of that number is handed; None where the batch does not ask for it."""
        while not self._greenlet.dead and self._at < number:
            self._go_on()
        return self._inputs if self._at == number else None

    def to_the_end(self) -> Any:
        while not self._greenlet.dead:
            self._go_on()
        return self._output

    def give_up(self) -> None:
        if not self._greenlet.dead:
            self._greenlet.throw()

    def asks(self, module: nn.Module, number: int, inputs: Tensor) -> None:
        """Called in the greenlet: stop where the block asks for a group for the first time."""
        if number < self._at or module in self._asked:
            raise OutOfStepError
        self._asked.add(module)
        if number > self._at:
            self._at, self._inputs = number, inputs
            self._walk.switch()

    def _go_on(self) -> None:
        self._inputs = None
        found = self._greenlet.switch()
        if self._greenlet.dead:
            self._output, self._at = found, -1
