"""`secateur models`: finished jobs under names, version by version."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.console import out, show_table, table
from app.cli.lazy_group import JobId

models = typer.Typer(help="Name finished jobs, and look at the names.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the model.")]


@models.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the models, each with its newest version."""
    with connected(url, key) as client:
        _show(client.ask("GET", "models")["models"], as_json=as_json)


@models.command()
def versions(name: Name, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the versions of a model, newest first."""
    with connected(url, key) as client:
        _show(client.ask("GET", "models", name)["versions"], as_json=as_json)


@models.command()
def publish(name: Name, job: JobId, url: Url = None, key: Key = None) -> None:
    """Make a finished job the next version of a model."""
    with connected(url, key) as client:
        made = client.ask("POST", "models", name, "versions", json={"job_id": job})
    out.print(f"{made['name']}@{made['revision']}")


@models.command()
def withdraw(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Take a version back; its number is not given again."""
    with connected(url, key) as client:
        client.ask("DELETE", "models", name, "versions", version)
    out.print(f"{name}@v{version} withdrawn")


def _show(models: list[Json], *, as_json: bool) -> None:
    if as_json:
        out.print_json(data=models)
        return
    rows = table("name", "version", "job", "created")
    for each in models:
        rows.add_row(each["name"], each["revision"], each["job_id"], each["created_at"][:19])
    show_table(rows)
