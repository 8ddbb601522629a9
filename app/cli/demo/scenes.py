"""Act two: a small vision-language model, judged by its answers about held-out pictures."""

from pathlib import Path
from typing import Any

from rich.table import Table

from app.cli.client import Json
from app.cli.demo.act import Act
from app.local.process import LocalError

MODEL = Path(__file__).parents[3] / "benchmarks" / "models" / "scenes-llava"
SPARSITY = 0.7
CALIBRATION = {"set": "scenes", "samples": 64}
EVALUATION = {
    "set": "scenes",
    "samples": 90,
    "metrics": ["accuracy", "agreement"],
    "max_new_tokens": 36,
    "batch_size": 64,
}
ZEROS = ("magnitude", "wanda", "ecoflap", "multiflow", "recommended")
SMALLER = {"method": "width", "parameters": {"mlp_removed": 0.5}}
# A router as small jobs train one; whether it beats simpler rules is for larger sets to say.
ROUTER = {
    "method": "par",
    "parameters": {"tokens": 0.5, "rounds": 1, "allow_no_improvement": True},
    "evaluation": EVALUATION | {"metrics": ["accuracy"]},
}
_WIDEST = 13  # columns of a question: all five fit a terminal of 100
GOES = dict.fromkeys(ZEROS, f"{SPARSITY:.0%} of the weights") | {
    "width": "half of the MLP channels",
    "par": "half of the image tokens",
}


def model() -> Path:
    """scenes-llava, 0.8 M parameters, trained from scratch for this project."""
    if not (MODEL / "config.json").exists():
        raise LocalError(f"the demo's model is missing: {MODEL} belongs to the repository")
    return MODEL


def play(act: Act) -> list[Table]:
    """Prune, download, ask each checkpoint the same questions."""
    ways: dict[str, dict[str, Any]] = {
        name: {"method": name, "sparsity": SPARSITY} for name in ZEROS
    }
    ways |= {"width": SMALLER, "par": ROUTER}
    common = {"model": str(model()), "calibration": CALIBRATION, "evaluation": EVALUATION}
    jobs = act.prune({name: common | way for name, way in ways.items()})
    # A router needs the code that comes with it; `example.py` in the job's files shows how.
    plain = {name: job for name, job in jobs.items() if name != "par"}
    directories = act.download(MODEL.name, plain)
    asked: list[Json] = act.ask("answers", model(), directories)
    return [_table(jobs), _answers(asked, ["dense", *plain])]


def _table(jobs: dict[str, Json]) -> Table:
    """What each way keeps of the answers, below the dense model's."""
    table = Table(title=f"{MODEL.name}, {EVALUATION['samples']} questions")
    table.add_column("method")
    table.add_column("takes out")
    for heading in ("accuracy", "95 % interval", "agreement", "time"):
        table.add_column(heading, justify="right")
    dense = next(iter(jobs.values()))["result"]["evaluation"]["metrics"]["accuracy"]["before"]
    table.add_row("dense", "nothing", *_estimate(dense), "", "")
    for name, job in jobs.items():
        metrics = job["result"]["evaluation"]["metrics"]
        table.add_row(
            name,
            GOES[name],
            *_estimate(metrics["accuracy"]["after"]),
            f"{metrics['agreement']['after']['value']:.3f}" if "agreement" in metrics else "",
            f"{job['result']['seconds']:.1f} s",
        )
    return table


def _estimate(found: Json) -> tuple[str, str]:
    return f"{found['value']:.3f}", f"{found['low']:.3f} .. {found['high']:.3f}"


def _answers(asked: list[Json], checkpoints: list[str]) -> Table:
    """One column a question: the right answer above what each checkpoint says."""
    table = Table(title="What each checkpoint says", show_lines=True)
    table.add_column("checkpoint")
    for question in asked:
        table.add_column(question["question"], max_width=_WIDEST)
    table.add_row("right", *(question["right"] for question in asked))
    for number, name in enumerate(checkpoints):
        table.add_row(name, *(question["said"][number] for question in asked))
    return table
