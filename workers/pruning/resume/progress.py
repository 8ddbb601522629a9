"""What a run tells while it works."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["allocating", "calibrating", "pruning"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One block is done.

    Attributes:
        phase: `allocating` while scores are measured, `calibrating` while the dense model is
            surveyed, then `pruning`.
        block: name of the block.
        done: number of blocks up to this one.
        total: number of blocks up to the last that is pruned.
        warnings: what came up in this block.
    """

    phase: Phase
    block: str
    done: int
    total: int
    warnings: tuple[str, ...] = ()


Report: TypeAlias = Callable[[Progress], None]
"""Told after every block. What it raises ends the run: that is how a run is cancelled."""
