"""Walking a model block by block, every block fed by the (pruned) blocks before it."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workers.pruning.calibration.hooks import Calibration
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch, BatchRun, TowerPass
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.resume.activation_checkpoints import Trail
from workers.pruning.resume.checkpoints import NoCheckpoints


@dataclass(slots=True)
class Step:
    """One block with everything it is fed.

    Attributes:
        block: the block whose turn it is.
        index: its position in its tower.
        passes: its inputs and their number of samples, for every batch and pass through the tower.
    """

    block: Block
    index: int
    passes: Sequence[tuple[TowerPass, int]]
    advanced: bool = field(default=False, init=False)

    def collect(self, calibration: Calibration[Any], matrices: Iterable[Matrix]) -> None:
        """Show the inputs of `matrices` to `calibration`; nothing is passed on."""
        with calibration.watching(matrices, self.block.module):
            for each, samples in self.passes:
                args, kwargs = each.inputs(self.index)
                call = partial(self.block.module, *args, **kwargs)
                calibration.run(call, samples, each.mask_of, spare=True)
                each.rest()

    def advance(
        self, calibration: Calibration[Any] | None = None, matrices: Iterable[Matrix] = ()
    ) -> None:
        """Run the block as it now is and feed the next one, watched by `calibration` if given."""
        self.advanced = True
        with ExitStack() as stack:
            if calibration is not None:
                stack.enter_context(calibration.watching(matrices, self.block.module))
            for each, samples in self.passes:
                args, kwargs = each.inputs(self.index)
                call = partial(self.block.module, *args, **kwargs)
                if calibration is None:
                    output = call()
                else:
                    output = calibration.run(call, samples, each.mask_of, spare=False)
                each.advance(self.index, output)


def steps(
    adapter: Adapter,
    batches: Iterable[Batch],
    *,
    last: Block,
    trail: Trail | None = None,
    done: Collection[Block] = (),
) -> Iterator[Step]:
    """Every block in execution order up to `last`, fed by the blocks before it as they then are.

    A step that the caller has not advanced itself is advanced when the next one is asked for, so
    a block pruned in between feeds its successor pruned activations.

    Args:
        adapter: the model.
        batches: what goes through it.
        last: where to stop.
        trail: keeps activations on the way, and may know some.
        done: the first blocks, of which the caller wants to see nothing but their outputs.
    """
    runs = [BatchRun(adapter, batch) for batch in batches]
    trail = trail or Trail(NoCheckpoints(), "")
    known = trail.known(adapter.towers, runs, done)
    for tower in adapter.towers:
        skipped = sum(block in known for block in tower.blocks)
        passes: list[tuple[TowerPass, int]] = []
        if skipped < len(tower.blocks):
            for number, run in enumerate(runs):
                entered = run.enter(tower)
                if skipped:
                    trail.resume(number, entered, skipped)
                passes += [(each, samples_of(run.batch)) for each in entered]
        for index, block in enumerate(tower.blocks):
            step = Step(block, index, passes)
            step.advanced = block in known
            yield step
            if block is last:
                return
            if not step.advanced:
                step.advance()
            if block not in known:
                trail.keep(block, runs, passes)


def samples_of(batch: Batch) -> int:
    """Number of samples in a batch; image patches may be packed along the first dimension."""
    return min(len(value) for value in batch.values() if value.ndim)


def first_holding(batches: Iterable[Batch], samples: int) -> list[Batch]:
    """The first batches that hold so many samples; no more are drawn."""
    chosen: list[Batch] = []
    found = 0
    for batch in batches:
        if found >= samples:
            break
        chosen.append(batch)
        found += samples_of(batch)
    return chosen
