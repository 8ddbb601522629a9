"""`secateur up`: the whole service on this machine until Ctrl-C."""

from typing import Annotated

import typer

from app.cli.console import err, fail, out
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
) -> None:
    """Run the whole service on this machine until Ctrl-C.

    PostgreSQL and Valkey are started too, unless SECATEUR_DATABASE__URL and SECATEUR_QUEUE__URL
    name others.
    """
    settings = load_settings(data_dir, api={"host": host, "port": port})
    try:
        with installation(settings, report=err.print, workers=workers) as running:
            _announce(running)
            while True:
                running.tend(60)
    except Stopped:
        out.print("Stopped.")
    except LocalError as error:
        fail(str(error))


def _announce(running: Installation) -> None:
    settings = running.settings
    key = (
        f"{running.key}   (kept in {running.key_file})"
        if running.key
        else ("keys exist, but none is kept here; make one with `secateur keys create NAME`")
    )
    out.print(f"Secateur runs at {running.url}")
    out.print(f"  API key  {key}")
    out.print(f"  models   {' '.join(map(str, settings.models.roots))}")
    out.print(f"  data     {settings.data_dir}")
    out.print(f"  logs     {settings.data_dir / 'logs'}")
    out.print(f"  docs     {running.url}/docs")
    out.print("Press Ctrl-C to stop.")
