"""What a report is made of: sections, each with sentences, tables and pictures."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Tone(StrEnum):
    """How a sentence is meant."""

    PLAIN = "plain"
    NOTE = "note"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Block:
    """A part of a section."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """By which the template tells blocks apart."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True)
class Text(Block):
    """Sentences; what stands between backticks is code."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Items(Block):
    """A list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table; `small` stands below and says it more precisely."""

    text: str
    small: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; those of words begin at the left, those of figures end at the right."""

    name: str
    words: bool


@dataclass(frozen=True, slots=True)
class Table(Block):
    """Rows with a heading each; `long` is for texts that people wrote, which keep their lines."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    long: bool = False

    @classmethod
    def of(
        cls,
        head: Sequence[str],
        rows: Iterable[Sequence[str | Cell]],
        *,
        words: Collection[str] = (),
        long: bool = False,
    ) -> "Table":
        """A table.

        Args:
            head: names of the columns; the first has the headings of the rows.
            rows: their cells.
            words: columns that hold words, beside the first.
            long: see the class.
        """
        return cls(
            [Column(name, place == 0 or name in words) for place, name in enumerate(head)],
            [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows],
            long,
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a picture; places are shares of the full length.

    Attributes:
        name: what it is of.
        text: what its length stands for.
        fill: its colour, by what it means: a modality, `dense`, `pruned`, `time`, `score`.
        length: of the bar.
        start: where it begins.
        mark: where a line crosses it; None without.
        interval: from where to where the value may lie; None without.
    """

    name: str
    text: str
    fill: str
    length: float
    start: float = 0.0
    mark: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """The end of the name, which differs most from that of others."""
        return self.name if len(self.name) <= _LABEL else f"\u2026{self.name[1 - _LABEL :]}"


_LABEL = 34  # characters that a bar has room for
_SIGN, _LETTER = 32, 6.8  # pixels in a legend


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: `sign` is a colour, `mark` or `interval`; `at` its place in pixels."""

    sign: str
    text: str
    at: float


def legend(*entries: tuple[str, str]) -> list[Key]:
    """Signs and what they mean, one beside the other."""
    keys, at = [], 0.0
    for sign, text in entries:
        keys.append(Key(sign, text, at))
        at += _SIGN + _LETTER * len(text)
    return keys


@dataclass(frozen=True, slots=True)
class Bars(Block):
    """A picture of bars, one below the other.

    Attributes:
        name: of its file.
        label: what is drawn, and in which unit.
        bars: from the top.
        keys: its legend.
    """

    name: str
    label: str
    bars: Sequence[Bar]
    keys: Sequence[Key] = ()


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
    """A metric before and after on an axis of its own; `ticks` are places and texts."""

    name: str
    note: str
    whiskers: Sequence[Whisker]
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Axes(Block):
    """A picture of figures with their intervals, one axis below the other."""

    name: str
    label: str
    axes: Sequence[Axis]
    keys: Sequence[Key]


Picture: TypeAlias = Bars | Axes


@dataclass(frozen=True, slots=True)
class Square:
    """One block of the model in a strip.

    Attributes:
        name: of the block.
        shade: how strong its colour is, 0..1; None where there is nothing to show yet.
        text: what it stands for.
    """

    name: str
    shade: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Strip(Block):
    """Blocks by modality, each row in the order of their depth; `note` says what shades mean."""

    rows: dict[str, list[Square]]
    note: str


@dataclass(frozen=True, slots=True)
class Details(Block):
    """What unfolds; a model card has nothing of it but the pictures."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report under one heading.

    Attributes:
        name: of its place on a page.
        title: for people.
        blocks: what it says, in this order.
    """

    name: str
    title: str
    blocks: Sequence[Block]


# What XML, and with it a picture's file, cannot hold.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def fit(text: str) -> str:
    """A text of somebody else's as files can hold it."""
    return _UNFIT.sub("\ufffd", text)


def code(name: str) -> str:
    """A name of somebody else's in a sentence, as code."""
    return f"`{name.replace('`', chr(39))}`"


def pictures(blocks: Iterable[Block]) -> list[Picture]:
    """Those among the blocks, and in what unfolds."""
    found: list[Picture] = []
    for each in blocks:
        if isinstance(each, Details):
            found += pictures(each.blocks)
        elif isinstance(each, Bars | Axes):
            found.append(each)
    return found
