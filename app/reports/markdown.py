"""Sections as Markdown, for a model card."""

from collections.abc import Iterable, Iterator

from app.reports.document import (
    Axes,
    Bars,
    Block,
    Cell,
    Details,
    Items,
    Section,
    Table,
    Text,
    Tone,
    fit,
    pictures,
)

FOLDER = "plots"
"""Where the pictures of a card lie."""


def as_markdown(sections: Iterable[Section]) -> str:
    """Headings, sentences, tables, and links to the pictures; what unfolds is left out."""
    parts: list[str] = []
    for section in sections:
        if blocks := [text for each in section.blocks for text in _block(each)]:
            parts += [f"## {section.title}", *blocks]
    return "\n\n".join(parts)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text, Tone.BAD | Tone.WARN):
            yield f"**{escaped(text)}**"
        case Text(text):
            yield escaped(text)
        case Items(texts):
            yield "\n".join(f"- {escaped(text)}" for text in texts)
        case Table():
            yield "\n".join(_table(block))
        case Bars() | Axes() | Details():
            yield from (f"![{each.label}]({FOLDER}/{each.name}.svg)" for each in pictures([block]))


def _table(table: Table) -> Iterator[str]:
    yield _line(column.name for column in table.columns)
    yield _line("---" if column.words else "---:" for column in table.columns)
    for row in table.rows:
        yield _line(map(_cell, row))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = f"{cell.text} ({cell.small})" if cell.small else cell.text
    return escaped(text).replace("|", "\\|")


def escaped(text: str) -> str:
    """Text of which nothing is taken for HTML, for a link or for another line."""
    line = " ".join(fit(text).splitlines())
    return line.replace("<", "&lt;").replace("](", "]\\(")
