"""`secateur projects`: who shares the service, each with jobs, keys and limits of its own."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import err, table, tell
from app.cli.requests.job import given

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
        made = client.ask("POST", "projects", json={"name": name})
    if not as_json:
        err.print(f"project {made['project']['id']}; its key, shown only now:")
    tell(made, made["secret"], as_json=as_json)


@projects.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List all projects, newest first."""
    with connected(url, key) as client:
        found = client.ask("GET", "projects")["projects"]
    rows = table("id", "name", "created", "artifact bytes")
    for each in found:
        created = each["created_at"][:19]
        rows.add_row(each["id"], each["name"], created, str(each["artifact_bytes"]))
    tell(found, rows, as_json=as_json)


@projects.command()
def limits(
    project: Annotated[str, typer.Argument(help="Id of the project.")],
    *,
    queued_jobs: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    running_jobs: Annotated[int | None, typer.Option(min=1, show_default=False)] = None,
    artifact_bytes: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    upload_bytes: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, show_default=False)] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a project, and show all of them."""
    wanted = given(
        queued_jobs=queued_jobs,
        running_jobs=running_jobs,
        artifact_bytes=artifact_bytes,
        upload_bytes=upload_bytes,
        requests_per_minute=requests_per_minute,
    )
    with connected(url, key) as client:
        found = client.ask("PATCH", "projects", project, json=wanted)["limits"]
    rows = table("", "", header=False)
    for name, value in found.items():
        rows.add_row(name, str(value))
    tell(found, rows, as_json=as_json)
