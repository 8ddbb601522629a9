"""`secateur demo`: the whole service on two small real models, and what pruning leaves of them."""

from typing import Annotated

import typer

from app.cli.client import AsJson, Client, RefusedError, UnreachableError
from app.cli.commands.jobs.download import DownloadError
from app.cli.console import err, fail, out, records, show_table
from app.cli.demo import minilm, scenes
from app.cli.demo.act import Act
from app.cli.service import DataDir
from app.cli.settings import load_settings
from app.local.installation import Installation, installation
from app.local.process import LocalError
from app.local.supervisor import Stopped
from app.local.valkey import free_port


def demo(
    data_dir: DataDir = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prune a sentence encoder and a vision-language model, and compare what is left of them.

    Starts everything `secateur up` starts, submits the jobs over HTTP, downloads the checkpoints,
    tries each of them, loaded with plain transformers, and stops everything again.
    """
    directory = data_dir or load_settings().data_dir / "demo"
    try:
        models = {"roots": (minilm.model(), scenes.model())}
        api = {"host": "127.0.0.1", "port": free_port()}
        settings = load_settings(directory, api=api, models=models)
        with installation(settings, report=err.print) as house:
            err.print(f"Secateur runs at {house.url}")
            with Client(house.url, house.key) as client:
                act = Act(client, house)
                tables = [*minilm.play(act), *scenes.play(act)]
            if as_json:
                shown = {str(table.title): records(table) for table in tables}
                out.print_json(data={"checkpoints": str(act.checkpoints), "tables": shown})
            else:
                for table in tables:
                    show_table(table)
                out.print(f"The checkpoints are in {act.checkpoints}")
            _show_console(house, keep=keep)
    except Stopped:
        if not keep:
            fail("Stopped.")
        err.print("Stopped.")
    except (DownloadError, LocalError, RefusedError, UnreachableError) as error:
        fail(str(error))


def _show_console(house: Installation, *, keep: bool) -> None:
    """Say where the jobs can be looked at in a browser, and wait for that where asked to."""
    if not keep:
        err.print(
            "The same jobs in a browser: `make demo KEEP=1`, or `secateur demo --keep`, leaves the "
            f"console running, then at {house.url}/console"
        )
        return
    err.print(f"The console: {house.url}/console, with the API key in {house.key_file}")
    err.print("Press Ctrl-C to stop.")
    while True:
        house.tend(60)
