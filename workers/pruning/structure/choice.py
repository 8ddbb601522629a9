"""The blocks of a tower that may be left out, and how many of them are to go."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass

from app.planning.depth import is_last, most_to_go
from app.recipes.structure import Depth, NothingLeftError, blocks_removed
from workers.pruning.models.layout.structure import Block, Tower


@dataclass(frozen=True, slots=True)
class Choice:
    """What there is to choose from.

    Attributes:
        tower: the tower.
        able: its blocks that may go.
        count: how many are to go.
        kinds: what kind of layer each of its blocks is; one of each stays.
    """

    tower: Tower
    able: tuple[Block, ...]
    count: int
    kinds: tuple[str, ...]

    @classmethod
    def of(
        cls,
        tower: Tower,
        settings: Depth,
        *,
        named: set[int],
        kinds: list[str],
        seen: Container[Block],
        dead: set[Block],
    ) -> "Choice":
        """Find them.

        Args:
            tower: the tower.
            settings: how much goes.
            named: numbers of blocks that something hangs on.
            kinds: of all its blocks.
            seen: blocks that give back what they are given.
            dead: blocks that nothing reads.

        Raises:
            NothingLeftError: fewer may go than are to.
        """
        ends = set() if settings.ends else {0, len(tower.blocks) - 1}
        able = [
            number
            for number, block in enumerate(tower.blocks)
            if block in dead or (number not in ends | named and block in seen)
        ]
        count, most = count_gone(tower, settings), most_to_go(able, kinds)
        if count > most:
            unseen = sum(block not in seen for block in tower.blocks)
            why = [
                "the first and the last block stay" if ends else "",
                f"config.json names {', '.join(map(str, sorted(named)))}" if named else "",
                f"no calibration input passes through {unseen}, or not in one shape"
                if unseen
                else "",
                f"one block of each kind stays ({', '.join(sorted(set(kinds)))})"
                if most < len(able)
                else "",
            ]
            raise NothingLeftError(
                f"{tower.name}: {count} of {len(tower.blocks)} blocks are to go, and only "
                f"{most} can: {'; '.join(filter(None, why))}"
            )
        return cls(tower, tuple(tower.blocks[number] for number in able), count, tuple(kinds))

    def left(self, gone: Collection[Block]) -> list[Block]:
        """The blocks that may go next, where these are gone."""
        blocks = self.tower.blocks
        numbers = {number for number, block in enumerate(blocks) if block in gone}
        return [
            block
            for number, block in enumerate(blocks)
            if block in self.able and number not in numbers
            if not is_last(number, self.kinds, numbers)
        ]

    def least(self, scores: Mapping[Block, float], dead: set[Block]) -> set[Block]:
        """Those of the smallest scores, the ones that nothing reads before all others."""
        gone: set[Block] = set()
        for _ in range(self.count):
            left = self.left(gone)
            gone.add(min(left, key=lambda block: (block not in dead, scores.get(block, 0.0))))
        return gone


def count_gone(tower: Tower, settings: Depth) -> int:
    """How many blocks of a tower are to go, whichever they are."""
    total, kept = len(tower.blocks), settings.kept_of(tower.modality)
    if kept is not None:
        return len(set(range(total)).difference(kept))
    return blocks_removed(total, settings.share_of(tower.modality), total, tower.name)
