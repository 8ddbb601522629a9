"""How the command speaks: facts on standard output, the rest on standard error."""

import sys
from enum import IntEnum
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

# Nothing is wrapped, coloured by guess or read as markup: keys and paths stay in one piece.
# A terminal cuts the tables it has no room for; a pipe has room.
_width = None if sys.stdout.isatty() else 400
out = Console(soft_wrap=True, highlight=False, markup=False, width=_width)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


class Exit(IntEnum):
    """Exit codes of the command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """Say what is wrong and end with `code`."""
    err.print(message, style="red")
    raise typer.Exit(code)


def table(*columns: str, header: bool = True) -> Table:
    """A table without lines, to be read by people and by `awk` alike."""
    made = Table(box=None, show_header=header, pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made
