"""Act two: a small vision-language model, judged by its answers about held-out pictures."""

from pathlib import Path

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
METHODS = ("magnitude", "wanda", "multiflow")


def model() -> Path:
    """scenes-llava, 0.8 M parameters, trained from scratch for this project."""
    if not (MODEL / "config.json").exists():
        raise LocalError(f"the demo's model is missing: {MODEL} belongs to the repository")
    return MODEL


def play(act: Act) -> list[Table]:
    """Prune, download, ask each checkpoint the same questions."""
    common = {"model": str(model()), "sparsity": SPARSITY}
    common |= {"calibration": CALIBRATION, "evaluation": EVALUATION}
    jobs = act.prune({name: common | {"method": name} for name in METHODS})
    directories = act.download(MODEL.name, jobs)
    asked: list[Json] = act.ask("answers", model(), directories)
    return [_table(jobs), _answers(asked, ["dense", *jobs])]


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
