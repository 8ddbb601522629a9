"""`secateur demo`: the whole service on two small real models, and what pruning leaves of them."""

from app.cli.client import AsJson, Client, RefusedError, UnreachableError
from app.cli.commands.jobs.download import DownloadError
from app.cli.console import err, fail, out, records, show_table
from app.cli.demo import minilm, scenes
from app.cli.demo.act import Act
from app.cli.service import DataDir
from app.cli.settings import load_settings
from app.local.installation import installation
from app.local.process import LocalError
from app.local.supervisor import Stopped
from app.local.valkey import free_port


def demo(data_dir: DataDir = None, as_json: AsJson = False) -> None:
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
            return
        for table in tables:
            show_table(table)
        out.print(f"The checkpoints are in {act.checkpoints}")
    except Stopped:
        fail("Stopped.")
    except (DownloadError, LocalError, RefusedError, UnreachableError) as error:
        fail(str(error))
