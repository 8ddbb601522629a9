"""`secateur models`: local models, and finished jobs under names, version by version."""

from typing import Annotated

import typer
from rich.table import Table

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.console import table, tell
from app.cli.lazy_group import JobId

models = typer.Typer(help="List models, and name finished jobs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the model.")]


@models.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the local models of the service, and the project's, each by its newest version.

    A job names a local model as it is listed, and one of the project as hf:models/NAME@VERSION.
    """
    with connected(url, key) as client:
        local = client.ask("GET", "local-models")["models"]
        found = client.every("models", of="models")
    rows = table("name", "version", "job", "created")
    for each in local:
        rows.add_row(each["name"], "local", "", "")
    _add(rows, found)
    tell({"local": local, "models": found}, rows, as_json=as_json)


@models.command()
def versions(name: Name, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the versions of a model, newest first."""
    with connected(url, key) as client:
        found = client.ask("GET", "models", name)["versions"]
    rows = table("name", "version", "job", "created")
    _add(rows, found)
    tell(found, rows, as_json=as_json)


@models.command()
def publish(
    name: Name, job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Make a finished job the next version of a model."""
    with connected(url, key) as client:
        made = client.ask("POST", "models", name, "versions", json={"job_id": job})
    tell(made, f"{made['name']}@{made['revision']}", as_json=as_json)


@models.command()
def withdraw(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take a version back; its number is not given again."""
    with connected(url, key) as client:
        client.ask("DELETE", "models", name, "versions", version)
    gone = {"name": name, "version": version, "deleted": True}
    tell(gone, f"{name}@v{version} withdrawn", as_json=as_json)


def _add(rows: Table, versions: list[Json]) -> None:
    for each in versions:
        rows.add_row(each["name"], each["revision"], each["job_id"], each["created_at"][:19])
