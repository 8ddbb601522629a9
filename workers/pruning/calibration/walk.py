"""Walks a model block by block, every block fed by the (pruned) blocks before it.

Activations are kept on the way (`ActivationCheckpoints`), so that another run need not begin at the
first block.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from workers.pruning.calibration.statistics import Calibration, Group, MaskOf, SquareSum
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch, BatchRun, TowerPass
from workers.pruning.models.layout.structure import Block, Matrix, Tower
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints

_WORTH = 20  # times what keeping took have to pass before it is done again: at most 5 % of the time


class ActivationCheckpoints:
    """The latest activations of one walk, in one entry."""

    def __init__(self, checkpoints: Checkpoints, name: str) -> None:
        """Keep them under the name."""
        self._checkpoints = checkpoints
        self._name = name
        self._state: dict[str, Tensor] = {}
        self._due = 0.0

    def known(
        self, towers: Sequence[Tower], runs: Sequence[BatchRun], done: Collection[Block]
    ) -> set[Block]:
        """The blocks that need not be walked through: some of those that are done.

        Towers among them are finished in `runs`, a tower that is cut waits for `resume`.
        """
        entry = self._checkpoints.get(self._name) if done else None
        if entry is None:
            return set()
        blocks = [block for tower in towers for block in tower.blocks]
        names = [block.name for block in blocks]
        known = blocks[: names.index(entry.values["block"]) + 1]
        if not set(done).issuperset(known):
            return set()
        finished = [tower for tower in towers if set(known).issuperset(tower.blocks)]
        self._state = dict(entry.tensors)
        for number, run in enumerate(runs):
            run.finish(finished, self._part(f"{number}/finished/"))
        return set(known)

    def resume(self, run: int, passes: Sequence[TowerPass], index: int) -> None:
        """Take the passes of a run through a cut tower to its first unknown block."""
        for number, each in enumerate(passes):
            each.resume(index, self._part(f"{run}/{number}/"))

    def keep(
        self, block: Block, runs: Sequence[BatchRun], passes: Sequence[tuple[TowerPass, int]]
    ) -> None:
        """Keep what the block after this one needs, if that is worth its time."""
        begun = time.monotonic()
        if begun < self._due:
            return
        found: dict[str, Tensor] = {}
        for number, run in enumerate(runs):
            outputs = run.finished()
            if outputs is None:
                return
            found |= {f"{number}/finished/{key}": value for key, value in outputs.items()}
            for place, each in enumerate(each for each, _ in passes if each.run is run):
                state = {} if each.ended else each.state()
                if state is None:
                    return
                found |= {f"{number}/{place}/{key}": value for key, value in state.items()}
        self._checkpoints.put(self._name, Entry({"block": block.name}, found))
        for each, _ in passes:
            each.rest()
        now = time.monotonic()
        self._due = now + _WORTH * (now - begun)

    def _part(self, prefix: str) -> dict[str, Tensor]:
        found = {key: value for key, value in self._state.items() if key.startswith(prefix)}
        return {key.removeprefix(prefix): value for key, value in found.items()}


@dataclass(slots=True)
class Step:
    """One block with everything it is fed.

    Attributes:
        block: the block whose turn it is.
        index: its position in its tower.
        passes: its inputs and their number of samples, for every batch and pass through the tower.
        counted: tells of each pass which tokens count; empty where all real ones do.
    """

    block: Block
    index: int
    passes: Sequence[tuple[TowerPass, int]]
    advanced: bool = field(default=False, init=False)
    counted: Sequence[MaskOf] = field(default=(), init=False)

    def mask_of(self, number: int) -> MaskOf:
        """Which tokens of a pass count for statistics: the real ones, or those chosen of them."""
        return self.counted[number] if self.counted else self.passes[number][0].mask_of

    def collect(self, calibration: Calibration[Any], matrices: Iterable[Matrix]) -> None:
        """Show the inputs of `matrices` to `calibration`; nothing is passed on."""
        with calibration.watching(matrices, self.block.module):
            for number, (each, samples) in enumerate(self.passes):
                args, kwargs = each.inputs(self.index)
                call = partial(self.block.module, *args, **kwargs)
                calibration.run(call, samples, self.mask_of(number), spare=True)
                each.rest()

    def in_order(self, matrices: Iterable[Matrix]) -> list[tuple[list[Matrix], Group | None]]:
        """The matrices in the order in which the block asks for them; see `Calibration.in_order`.

        What the first batch does not reach comes last.
        """
        found = list(matrices)
        asked = Calibration(SquareSum)
        Step(self.block, self.index, self.passes[:1]).collect(asked, found)
        return asked.in_order(found)

    def advance(
        self, calibration: Calibration[Any] | None = None, matrices: Iterable[Matrix] = ()
    ) -> list[Tensor | None]:
        """Run the block as it now is and feed the next one, watched by `calibration` if given.

        Returns:
            The hidden states that the block gave, for every batch; None where they are not known.
        """
        self.advanced = True
        outputs = []
        with ExitStack() as stack:
            if calibration is not None:
                stack.enter_context(calibration.watching(matrices, self.block.module))
            for number, (each, samples) in enumerate(self.passes):
                args, kwargs = each.inputs(self.index)
                call = partial(self.block.module, *args, **kwargs)
                if calibration is None:
                    output = call()
                else:
                    output = calibration.run(call, samples, self.mask_of(number), spare=False)
                outputs.append(each.advance(self.index, output))
        return outputs


def see_all(_step: Step) -> None:
    """Choose no tokens: every real one counts."""


def steps(
    adapter: Adapter,
    batches: Iterable[Batch],
    *,
    last: Block,
    activations: ActivationCheckpoints | None = None,
    done: Collection[Block] = (),
    choose: Callable[[Step], None] = see_all,
) -> Iterator[Step]:
    """Every block in execution order up to `last`, fed by the blocks before it as they then are.

    A step that the caller has not advanced itself is advanced when the next one is asked for, so
    a block pruned in between feeds its successor pruned activations.

    Args:
        adapter: the model.
        batches: what goes through it.
        last: where to stop.
        activations: keeps activations on the way, and may know some.
        done: the first blocks, of which the caller wants to see nothing but their outputs.
        choose: chooses the tokens that count in every other block.
    """
    runs = [BatchRun(adapter, batch) for batch in batches]
    activations = activations or ActivationCheckpoints(NoCheckpoints(), "")
    known = activations.known(adapter.towers, runs, done)
    for tower in adapter.towers:
        skipped = sum(block in known for block in tower.blocks)
        passes: list[tuple[TowerPass, int]] = []
        if skipped < len(tower.blocks):
            for number, run in enumerate(runs):
                entered = run.enter(tower)
                if skipped:
                    activations.resume(number, entered, skipped)
                passes += [(each, samples_of(run.batch)) for each in entered]
        for index, block in enumerate(tower.blocks):
            step = Step(block, index, passes)
            step.advanced = block in known
            if block not in done:
                choose(step)
            yield step
            if block is last:
                return
            if not step.advanced:
                step.advance()
            if block not in known:
                activations.keep(block, runs, passes)


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
