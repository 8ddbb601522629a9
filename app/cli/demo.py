"""`secateur demo`: prune a small vision-language model with several methods, ask what is left."""

import json
import sys
from pathlib import Path

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

MODEL = Path(__file__).parents[2] / "benchmarks" / "models" / "scenes-llava"
SPARSITY = 0.7
CALIBRATION = {"set": "scenes", "samples": 64}
EVALUATION = {
    "set": "scenes",
    "samples": 90,
    "metrics": ["accuracy", "agreement"],
    "max_new_tokens": 36,
    "batch_size": 64,
}
METHODS = ("magnitude", "wanda", "multiflow")


def demo(data_dir: DataDir = None) -> None:
    """Prune a small vision-language model with several methods and compare what is left of it.

    Starts everything `secateur up` starts, submits the jobs over HTTP, downloads the checkpoints,
    asks each of them, loaded with plain transformers, a few questions, and stops everything again.
    """
    if not (MODEL / "config.json").exists():
        fail(f"the demo's model is missing: {MODEL} belongs to the repository")
    directory = data_dir or load_settings().data_dir / "demo"
    settings = load_settings(
        directory, api={"host": "127.0.0.1", "port": free_port()}, models={"roots": (MODEL,)}
    )
    try:
        with installation(settings, report=err.print) as house:
            out.print(f"Secateur runs at {house.url}")
            checkpoints = settings.data_dir / "checkpoints"
            with Client(house.url, house.key) as client:
                jobs = _prune(client, house)
                directories = _download(client, jobs, checkpoints)
            asked = _ask(directories, house)
        out.print(_table(jobs))
        out.print(_answers(asked, ["dense", *jobs]))
        out.print(f"The checkpoints are in {checkpoints}")
    except Stopped:
        fail("Stopped.")
    except (DownloadError, LocalError, RefusedError, UnreachableError) as error:
        fail(str(error))


def _prune(client: Client, house: Installation) -> dict[str, Json]:
    """Submit all jobs, then follow them to their ends."""
    common = {"model": str(MODEL), "sparsity": SPARSITY}
    common |= {"calibration": CALIBRATION, "evaluation": EVALUATION}
    submitted = {method: client.submit(common | {"method": method}) for method in METHODS}
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


def _ask(pruned: dict[str, Path], house: Installation) -> list[Json]:
    """Ask the dense and the pruned checkpoints, in a process of their own."""
    answer = house.settings.data_dir / "answers.json"
    answer.unlink(missing_ok=True)
    module = ["-P", "-m", "workers.demo.answers"]
    arguments = [str(path) for path in (answer, MODEL, *pruned.values())]
    program = Program(
        name="answers",
        argv=[sys.executable, *module, *arguments],
        env={"HF_HUB_OFFLINE": "1"},
    )
    with running(Process(program, house.settings.data_dir), pause=house.tend) as process:
        while process.alive:
            house.tend(0.1)
        if not answer.exists():
            raise LocalError(f"asking the checkpoints failed\n{process.last_words()}")
    found: list[Json] = json.loads(answer.read_text())
    return found


def _table(jobs: dict[str, Json]) -> Table:
    """What each job tells of itself: sparsity per modality, accuracy before and after."""
    modalities = next(iter(jobs.values()))["result"]["modalities"]
    table = Table(title=f"{MODEL.name} at sparsity {SPARSITY}, {EVALUATION['samples']} questions")
    headings = [*modalities, "accuracy before", "after", "95 % interval", "agreement", "time"]
    table.add_column("method")
    for heading in headings:
        table.add_column(heading, justify="right")
    for method, job in jobs.items():
        result = job["result"]
        metrics = result["evaluation"]["metrics"]
        accuracy = metrics["accuracy"]
        after = accuracy["after"]
        table.add_row(
            method,
            *(f"{share:.3f}" for share in result["modalities"].values()),
            f"{accuracy['before']['value']:.3f}",
            f"{after['value']:.3f}",
            f"{after['low']:.3f} .. {after['high']:.3f}",
            f"{metrics['agreement']['after']['value']:.3f}",
            f"{result['seconds']:.1f} s",
        )
    return table


def _answers(asked: list[Json], checkpoints: list[str]) -> Table:
    """One column a question: the right answer above what each checkpoint says."""
    table = Table(title="What each checkpoint says", show_lines=True)
    table.add_column("checkpoint")
    for question in asked:
        table.add_column(question["question"])
    table.add_row("right", *(question["right"] for question in asked))
    for number, name in enumerate(checkpoints):
        table.add_row(name, *(question["said"][number] for question in asked))
    return table
