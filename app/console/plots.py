"""Pictures as numbers: where templates draw strips of blocks and intervals of metrics."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.console.figures import figure
from app.console.outcome import Quality
from app.domain.jobs import Event, EventType
from app.recipes.pruning_report import PruningReport

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Cell:
    """One block in a strip.

    Attributes:
        name: of the block.
        shade: how strong its colour is, 0..1; None where there is nothing to show yet.
        text: what it stands for.
    """

    name: str
    shade: float | None
    text: str


Strip = dict[str, list[Cell]]
"""Blocks by modality, each in the order of their depth."""


def strip_of_report(report: PruningReport) -> Strip:
    """How sparse every block became."""
    modalities = {matrix.block: matrix.modality.value for matrix in report.matrices}
    strip: Strip = {}
    for name, tally in report.blocks.items():
        cell = Cell(name, tally.sparsity, f"{name}: {tally.sparsity:.2%} zero")
        strip.setdefault(modalities.get(name, OTHER), []).append(cell)
    return strip


def strip_of_events(events: Iterable[Event]) -> tuple[str, Strip]:
    """What the walk that goes on calls itself, and the blocks that it has done."""
    done = [event for event in events if event.type is EventType.BLOCK and "block" in event.data]
    if not done:
        return "", {}
    phase = _phase(done[-1])
    strip: Strip = {}
    for event in done:
        if _phase(event) == phase:
            cell = Cell(str(event.data["block"]), 1.0, f"{event.data['block']}: done")
            strip.setdefault(str(event.data.get("modality") or OTHER), []).append(cell)
    left = int(done[-1].data.get("total", 0)) - int(done[-1].data.get("done", 0))
    if left > 0:
        strip["waiting"] = [Cell("", None, "waits")] * min(left, 500)
    return phase, strip


def _phase(event: Event) -> str:
    return str(event.data.get("phase") or event.message.partition(" ")[0])


@dataclass(frozen=True, slots=True)
class Whisker:
    """One figure with its interval, in percent of the axis."""

    name: str
    at: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A metric before and after on one axis; `ticks` are places and texts."""

    quality: Quality
    whiskers: tuple[Whisker, Whisker]
    ticks: Sequence[tuple[float, str]]


def axis_of(quality: Quality) -> Axis:
    """The axis reaches over both intervals; ticks are round numbers."""
    measured = quality.measured
    pair = {"dense": measured.before, "pruned": measured.after}
    low = min(each.low for each in pair.values())
    high = max(each.high for each in pair.values())
    room = 0.08 * ((high - low) or abs(high) or 1.0)
    low, high = low - room, high + room

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    dense, pruned = (
        Whisker(
            name,
            place(each.value),
            place(each.low),
            place(each.high),
            f"{figure(each.value)} [{figure(each.low)}, {figure(each.high)}]",
        )
        for name, each in pair.items()
    )
    ticks = [(place(value), figure(value)) for value in _round_numbers(low, high)]
    return Axis(quality, (dense, pruned), ticks)


def _round_numbers(low: float, high: float, about: int = 4) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(each for each in (1, 2, 5, 10) if (high - low) / (step * each) <= about)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]
