"""Gradients of the loss, one matrix at a time.

Only the wanted matrices require a gradient. Blocks are checkpointed (Chen et al., 2016,
arXiv 1604.06174): their activations are made again when the backward pass arrives at them, but
for the first 64 MiB of a batch, which are kept. Each matrix's gradient is handed over the moment
it is complete and freed before the next one is made, so that a batch costs three to four forward
passes. What it holds is one block with its activations and one gradient, what is kept, and the
inputs of all blocks, of which those beyond the limit on activations wait on disk: the weights of
other blocks are let go, on the way back too. Where a forward runs through a tower several times,
gradients wait for the last contribution.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from app.errors import NonFiniteError
from workers.pruning.memory import Converted, Memory, stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.forwards import Forward, replaced, with_own_cache
from workers.pruning.models.layout.precision import computing_in_float32, in_float32
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix

# Bytes of activations and converted weights; little beside the libraries, all of a small model's.
KEPT = 64 << 20
# A block of width d saves about six tensors of d and four of 4 d for every token.
_ACTIVATIONS = 24

Take: TypeAlias = Callable[[Matrix, Tensor], None]
"""Given a matrix and its gradient (out_features, in_features); must not keep the gradient."""


def each_gradient(adapter: Adapter, batch: Batch, matrices: Iterable[Matrix], take: Take) -> float:
    """Differentiate the loss of one batch; `take` sees the gradient of every matrix it depends on.

    A matrix that the loss does not depend on is not shown. Gradients that parameters hold and
    their `requires_grad` come back as they were.

    Returns:
        The loss.

    Raises:
        NonFiniteError: the loss is NaN or infinite.
    """
    with computing_in_float32(adapter.model):
        return _differentiate(adapter, in_float32(batch), matrices, take)


def _differentiate(adapter: Adapter, batch: Batch, matrices: Iterable[Matrix], take: Take) -> float:
    shown = {stored(parameter): parameter for parameter in adapter.model.parameters()}
    owners: dict[nn.Parameter, list[Matrix]] = defaultdict(list)
    for matrix in matrices:
        owners[shown.get(matrix.parameter, matrix.parameter)].append(matrix)

    def hand_over(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None:
            for matrix in owners[parameter]:  # type: ignore[index]  # torch types hooks by Tensor
                take(matrix, matrix.part_of(gradient))

    with ExitStack() as stack:
        stack.enter_context(_only(adapter.model, owners))
        blocks = [block.module for tower in adapter.towers for block in tower.blocks]
        stack.enter_context(replaced(blocks, _Checkpoints(adapter.memory, blocks).stand_in))
        for parameter in owners:
            handle = parameter.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]  # torch's
            stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        loss = adapter.loss(batch)
        value = float(loss.detach())
        if not torch.isfinite(loss.detach()):
            raise NonFiniteError(f"the loss of a calibration batch is {value}")
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
    return value


@contextmanager
def _only(model: nn.Module, wanted: Iterable[nn.Parameter]) -> Iterator[None]:
    """The wanted parameters require a gradient, all others do not."""
    chosen = set(wanted)
    before = [(p, p.requires_grad, p.grad) for p in {*model.parameters(), *chosen}]
    try:
        for parameter, _, _ in before:
            parameter.grad = None
            if parameter.is_floating_point():
                parameter.requires_grad_(parameter in chosen)
        yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient


class _Checkpoints:
    """Decides, block by block in the order of one forward pass, whose activations are kept."""

    def __init__(self, memory: Memory, blocks: Sequence[nn.Module]) -> None:
        self._memory = memory
        self._blocks = blocks
        self._left = KEPT

    def stand_in(self, index: int, forward: Forward) -> Forward:
        """A block's forward that keeps all it needs, or its input alone and runs again later."""
        block = self._blocks[index]
        weights = sum(p.nbytes for p in block.parameters() if isinstance(p, Converted))

        def run(*args: Any, **kwargs: Any) -> Any:
            slots: list[tuple[Any, Any]] = [*enumerate(args), *kwargs.items()]
            slot, hidden = next(((s, x) for s, x in slots if isinstance(x, Tensor)), (None, None))
            if slot is None or hidden is None:
                return forward(*args, **kwargs)
            self._left -= _ACTIVATIONS * hidden.nbytes + weights
            if self._left >= 0:
                return forward(*args, **kwargs)

            before = with_own_cache(args, kwargs)
            first = [(args, kwargs)]

            def again(states: Tensor) -> Any:
                self._memory.enter(block)
                # The first run fills the model's own cache; later ones find it as it was before.
                args, kwargs = first.pop() if first else with_own_cache(*before)
                if isinstance(slot, int):
                    args = (*args[:slot], states, *args[slot + 1 :])
                else:
                    kwargs = {**kwargs, slot: states}
                return forward(*args, **kwargs)

            with saved_tensors_hooks(self._memory.keep, self._memory.back):
                return checkpoint(again, hidden, use_reentrant=False, preserve_rng_state=False)

        return run
