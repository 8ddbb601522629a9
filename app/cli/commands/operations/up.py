"""`secateur up`: the whole service on this machine until Ctrl-C."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Json
from app.cli.console import err, fail, tell
from app.cli.service import DataDir
from app.cli.settings import load_settings
from app.local.installation import Installation, installation
from app.local.process import LocalError
from app.local.supervisor import Stopped


def up(
    data_dir: DataDir = None,
    host: Annotated[
        str | None, typer.Option(help="Address the API listens on.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port the API listens on.", show_default=False)
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Workers on this machine; several share it, a GPU each."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C.

    PostgreSQL and Valkey are started too, unless SECATEUR_DATABASE__URL and SECATEUR_QUEUE__URL
    name others.
    """
    settings = load_settings(data_dir, api={"host": host, "port": port})
    try:
        with installation(settings, report=err.print, workers=workers) as running:
            tell(_facts(running), _words(running), as_json=as_json)
            err.print("Press Ctrl-C to stop.")
            while True:
                running.tend(60)
    except Stopped:
        err.print("Stopped.")
    except LocalError as error:
        fail(str(error))


def _facts(running: Installation) -> Json:
    settings = running.settings
    return {
        "url": running.url,
        "key": running.key,
        "key_file": str(running.key_file),
        "models": [str(root) for root in settings.models.roots],
        "data_dir": str(settings.data_dir),
        "logs": str(settings.data_dir / "logs"),
        "docs": f"{running.url}/docs",
    }


def _words(running: Installation) -> str:
    facts = _facts(running)
    key = (
        f"{running.key}   (kept in {running.key_file})"
        if running.key
        else ("keys exist, but none is kept here; make one with `secateur keys create NAME`")
    )
    lines = (
        f"Secateur runs at {running.url}",
        f"  API key  {key}",
        f"  models   {' '.join(facts['models'])}",
        f"  data     {facts['data_dir']}",
        f"  logs     {facts['logs']}",
        f"  docs     {facts['docs']}",
    )
    return "\n".join(lines)
