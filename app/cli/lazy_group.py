"""A group whose commands are imported when they run, so that none of them waits for the others."""

from importlib import import_module
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from app.cli.service import service


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


def _command(name: str, module: Any) -> Any:
    if isinstance(module, typer.Typer):
        made = typer.main.get_group(module)
        made.name = name
        return made
    single = typer.Typer(add_completion=False)
    single.command(name)(module)
    return typer.main.get_command(single)


_PATIENCE = 1.0  # seconds: nobody waits longer for a completion


def complete_job(incomplete: str) -> list[str]:
    """Ids of the newest jobs."""
    return [id_ for id_ in _ask("/v1/jobs?limit=50", "jobs", "id") if id_.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    """Names of methods."""
    names = _ask("/v1/methods", "methods", "name")
    return [name for name in names if name.startswith(incomplete)]


def _ask(path: str, items: str, field: str) -> list[str]:
    import httpx2  # noqa: PLC0415  a third of what `--help` takes

    address, key = service()
    try:
        answer = httpx2.get(
            f"{address}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE
        )
        return [item[field] for item in answer.json()[items]]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError):
        return []


JobId = Annotated[str, typer.Argument(help="Id of the job.", autocompletion=complete_job)]
MethodName = Annotated[
    str | None,
    typer.Option(
        help="Pruning method; `secateur methods` lists them.",
        autocompletion=complete_method,
        show_default=False,
    ),
]
