"""How the command speaks: facts on standard output, the rest on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

# Nothing is coloured by guess or read as markup: keys and paths stay in one piece, and N:M: a text.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

_WIDEST = 1_000_000  # characters; no table is


class Exit(IntEnum):
    """Exit codes of the command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """Say what is wrong and end with `code`."""
    err.print(message, style="red")
    raise typer.Exit(code)


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Ctrl-C inside ends the command with `advice`: what goes on, and how to return to it."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"\n{advice}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def tell(answer: Any, words: str | Table, *, as_json: bool) -> None:
    """Print an answer: in words, or as one JSON document.

    Args:
        answer: what JSON can hold.
        words: the same for people.
        as_json: which of the two.
    """
    if as_json:
        out.print_json(data=answer)
    elif isinstance(words, str):
        out.print(words)
    else:
        show_table(words)


class _Rows(Table):
    """A table whose cells have no line ends inside, as messages of libraries have them."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """As ever, with each cell in one line."""
        super().add_row(*(" ".join(str(cell).splitlines()) for cell in cells), **options)


def table(*columns: str, header: bool = True) -> Table:
    """A table without lines, to be read by people and by `awk` alike; see `show_table`."""
    made = _Rows(box=None, show_header=header, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def records(rows: Table) -> list[dict[str, str]]:
    """The rows of a table, each by its columns."""
    columns = [[str(cell) for cell in column.cells] for column in rows.columns]
    names = [str(column.header) for column in rows.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def show_table(rows: Table) -> None:
    """Print a table and cut nothing.

    A terminal breaks sentences at spaces where it is too narrow, but no word: an id stays in one
    piece. A pipe gets one line a row.
    """
    for column in rows.columns:
        words = (word for cell in (column.header, *column.cells) for word in str(cell).split())
        column.min_width = max(map(cell_len, words), default=0)
    if not sys.stdout.isatty():
        widest = out.options.update_width(_WIDEST)
        rows.width = Measurement.get(out, widest, rows).maximum
    out.print(rows, crop=False)
