"""`secateur projects`: who shares the service, each with jobs, keys and limits of its own."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import err, out, table

projects = typer.Typer(
    help="Manage projects, with an admin key of the first.", no_args_is_help=True
)


@projects.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name; no other project has it.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a project and show its first key, an admin's, once."""
    with connected(url, key) as client:
        made = client.create_project(name)
    if as_json:
        out.print_json(data=made)
        return
    err.print(f"project {made['project']['id']}; its key, shown only now:")
    out.print(made["secret"])


@projects.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List all projects, newest first."""
    with connected(url, key) as client:
        found = client.projects()
    if as_json:
        out.print_json(data=found)
        return
    rows = table("id", "name", "created", "artifact bytes")
    for each in found:
        created = each["created_at"][:19]
        rows.add_row(each["id"], each["name"], created, str(each["artifact_bytes"]))
    out.print(rows)
