"""`secateur report`: the report of a job as a page in a file."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import AsJson, Key, Url, connected
from app.cli.console import fail, tell
from app.cli.lazy_group import JobId


def report(
    job: JobId,
    file: Annotated[
        Path | None, typer.Option(help="Where to write it; by default JOB.html.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
    *,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Save the report of a job as a page, and print where."""
    with connected(url, key) as client:
        page = client.report(job)
    target = (file or Path(f"{job}.html")).absolute()
    try:
        target.write_bytes(page)
    except OSError as error:
        fail(f"report_not_written: {error}")
    tell({"job": job, "file": str(target)}, str(target), as_json=as_json)
    if show:
        typer.launch(target.as_uri())
