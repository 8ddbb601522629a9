"""Choose blocks to leave out one after the other, by what the model gives without each of them."""

from collections.abc import Callable, Sequence
from math import isnan

from workers.pruning.calibration.outputs import Known, distance
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.precision import computing_in_float32
from workers.pruning.models.layout.structure import Block
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.structure.bypass import bypassed
from workers.pruning.structure.choice import Choice


class Removal:
    """The blocks of a model that are gone so far; each was the best one to leave out next."""

    def __init__(
        self,
        adapter: Adapter,
        known: Sequence[Known],
        checkpoints: Checkpoints,
        tried: Callable[[Block, int], None],
    ) -> None:
        """Nothing is gone yet.

        Args:
            adapter: the model; it stays as it is.
            known: what it gives, for every batch.
            checkpoints: what an earlier run with the very same arguments has measured.
            tried: told of every block that was left out to try, and how many there were.
        """
        self._adapter = adapter
        self._known = known
        self._checkpoints = checkpoints
        self._tried = tried
        self._tries = 0
        self.gone: dict[Block, float] = {}

    def go_on(self, choice: Choice) -> None:
        """Leave out as many more as the choice says; `gone` has the distances that came of it.

        The distance is that of `workers.pruning.calibration.outputs`, a mean over batches: in each
        round every block that is left is tried, and the one goes without which it is least.
        """
        for _ in range(choice.count):
            left = choice.left(self.gone)
            found = {block: self._without(block) for block in left}
            best = min(left, key=lambda block: (isnan(found[block]), found[block]))
            self.gone[best] = found[best]

    def _without(self, block: Block) -> float:
        name = f"depth/without/{len(self.gone)}/{block.name}"
        entry = self._checkpoints.get(name)
        if entry is None:
            left_out = {*self.gone, block}
            with (
                bypassed(self._adapter.towers, left_out),
                computing_in_float32(self._adapter.model),
            ):
                found = [float(distance(self._adapter, each)) for each in self._known]
            entry = Entry({"distance": sum(found) / len(found)})
            self._checkpoints.put(name, entry)
        self._tries += 1
        self._tried(block, self._tries)
        return float(entry.values["distance"])
