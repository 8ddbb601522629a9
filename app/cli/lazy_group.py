"""A group whose commands are imported when they run, so that none of them waits for the others."""

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """Where a command is, and the line that `--help` shows for it.

    Attributes:
        place: `module:name` of a function, or of a `typer.Typer` with commands of its own.
        summary: the first line of its docstring (of its help, for a group).
        panel: heading in `--help`.
    """

    place: str
    summary: str
    panel: str = "Resources"


class LazyGroup(TyperGroup):
    """Lists commands from `entries`, with their line of help; imports the one that is run."""

    entries: ClassVar[dict[str, Entry]]

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for name, entry in self.entries.items():
            listed = TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel)
            self.commands[name] = listed

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command to run, imported."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and self.load(name or ""), rest

    def load(self, name: str) -> Any:
        """Import a command."""
        module, _, attribute = self.entries[name].place.partition(":")
        return _command(name, getattr(import_module(module), attribute))


def _command(name: str, found: Any) -> Any:
    if isinstance(found, typer.Typer):
        made = typer.main.get_group(found)
        made.name = name
        return made
    single = typer.Typer(add_completion=False)
    single.command(name)(found)
    return typer.main.get_command(single)
