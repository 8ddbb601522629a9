"""`secateur datasets`: records to calibrate or to evaluate on."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import table, tell

datasets = typer.Typer(help="Upload, list and remove data sets.", no_args_is_help=True)

ZIP = b"PK"


@datasets.command()
def upload(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="JSON lines, or a zip with images."),
    ],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload records and print the id that jobs name."""
    with file.open("rb") as content, connected(url, key) as client:
        kind = "application/zip" if content.read(2) == ZIP else "application/jsonl"
        content.seek(0)
        headers = {"Content-Type": kind}
        made = client.ask("POST", "datasets", content=content, headers=headers)
    tell(made, made["id"], as_json=as_json)


@datasets.command("list")
def listing(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the uploaded data sets."""
    with connected(url, key) as client:
        found = client.every("datasets", of="datasets")
    rows = table("id", "rows", "images", "fields")
    for each in found:
        rows.add_row(each["id"], str(each["rows"]), str(each["images"]), ",".join(each["fields"]))
    tell(found, rows, as_json=as_json)


@datasets.command()
def remove(
    dataset: Annotated[str, typer.Argument(help="Id of the data set.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Remove a data set; jobs that name it already still run."""
    with connected(url, key) as client:
        client.ask("DELETE", "datasets", dataset)
    tell({"id": dataset, "deleted": True}, f"{dataset} removed", as_json=as_json)
