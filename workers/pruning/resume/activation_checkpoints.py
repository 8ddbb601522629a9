"""Activations kept on the way through a model, so that another run need not walk from its start."""

import time
from collections.abc import Collection, Sequence

from torch import Tensor

from workers.pruning.models.layout.replay import BatchRun, TowerPass
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.resume.checkpoints import Checkpoints, Entry

_WORTH = 20  # times what keeping took have to pass before it is done again: at most 5 % of the time


class Trail:
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
