"""`python -m benchmarks.quality [--quick]`: compute what is missing, then write docs/quality."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from app.domain.errors import SecateurError
from benchmarks.quality import cell, tuning
from benchmarks.quality.cache import ROOT, cached
from benchmarks.quality.cell import DENSE, Cell, find_subject, model_digest
from benchmarks.quality.curves import curves
from benchmarks.quality.grid import FULL, QUICK, Grid
from benchmarks.quality.tables import table
from benchmarks.quality.texts import prepare

DOCS = ROOT / "docs" / "quality"


def cells(grid: Grid) -> list[Cell]:
    """Table 1, dense models first."""
    made = []
    for name in grid.subjects:
        subject = find_subject(name)
        if subject.directory is None:
            print(f"{name} is not here: left out", flush=True)
            continue
        samples = round(subject.samples * grid.evaluation_share)
        made.append(Cell(name, DENSE, 0.0, 0, 0, samples))
        made += [
            Cell(name, pruner, sparsity, seed, grid.calibration_samples, samples)
            for seed in grid.seeds
            for sparsity in grid.sparsities
            for pruner in grid.pruners
        ]
    return made


def tuned_cells(grid: Grid) -> list[tuning.TunedCell]:
    """Table 2, each task's dense model first."""
    made = []
    for task in tuning.TASKS:
        subject = find_subject(task.subject)
        if subject.directory is None:
            continue
        samples = round(subject.samples * grid.evaluation_share)
        common = (grid.calibration_samples, samples, grid.tuning_steps)
        made.append(tuning.TunedCell(task.name, DENSE, 0.0, 0, *common))
        made += [
            tuning.TunedCell(task.name, pruner, sparsity, seed, *common)
            for seed in grid.tuned_seeds
            for sparsity in grid.tuned_sparsities
            for pruner in grid.tuned_pruners
        ]
    return made


def rows_of(made: Sequence[Any], compute: Any, subject_of: Any) -> list[dict[str, Any]]:
    """All rows; a method that does not fit a model is named and left out."""
    found, digests = [], {}
    for number, each in enumerate(made, start=1):
        name = subject_of(each)
        digests.setdefault(name, model_digest(name))
        try:
            row = cached(each, digests[name], compute)
        except SecateurError as error:
            print(f"{each}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        print(f"{number}/{len(made)} {each} {row['value']:.4f}", flush=True)
        found.append(row)
    return found


def task_subject(each: tuning.TunedCell) -> str:
    """Name of the model of a tuned cell."""
    return next(task.subject for task in tuning.TASKS if task.name == each.task)


def write(title: str, rows: list[dict[str, Any]], tuned: list[dict[str, Any]], out: Path) -> None:
    """Tables, curves and the figures behind them."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [title, "", "## Pruned as is", ""]
    for name in dict.fromkeys(row["cell"]["subject"] for row in rows):
        lines += section(name, [r for r in rows if r["cell"]["subject"] == name], "subject", out)
    lines += ["## Pruned once, then fine-tuned with the masks kept", ""]
    for name in dict.fromkeys(row["cell"]["task"] for row in tuned):
        lines += section(name, [r for r in tuned if r["cell"]["task"] == name], "task", out)
    (out / "tables.md").write_text("\n".join(lines))
    kept = [
        {k: v for k, v in row.items() if k not in {"values", "weights"}} for row in rows + tuned
    ]
    content = ",\n".join(json.dumps(row) for row in kept)
    (out / "rows.json").write_text(f"[\n{content}\n]\n")


def section(name: str, rows: list[dict[str, Any]], kind: str, out: Path) -> list[str]:
    """One table with its figure."""
    dense = next((row["value"] for row in rows if row["cell"]["pruner"] == DENSE), None)
    pruned = [row for row in rows if row["cell"]["pruner"] != DENSE]
    if not pruned:
        return []
    metric, samples = rows[0]["metric"], len(rows[0]["values"])
    lines = [f"### {name}: {metric}, {samples} records", "", *table(pruned, dense), ""]
    if kind == "subject" and dense is not None:
        drawn: dict[str, list[tuple[float, float]]] = {}
        for row in pruned:
            spot = (row["cell"]["sparsity"], row["value"])
            drawn.setdefault(row["cell"]["pruner"], []).append(spot)
        means = {label: _means(spots) for label, spots in drawn.items()}
        (out / f"{name}.svg").write_text(curves(f"{name}: {metric}", means, dense))
        lines += [f"![{name}]({name}.svg)", ""]
    return lines


def _means(spots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    shares = sorted({x for x, _ in spots})
    return [(s, sum(y for x, y in spots if x == s) / sum(x == s for x, _ in spots)) for s in shares]


def main() -> None:
    """Run the grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small grid, under ten minutes")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    started = time.monotonic()
    prepare()
    grid = QUICK if quick else FULL
    rows = rows_of(cells(grid), cell.compute, lambda each: each.subject)
    tuned = rows_of(tuned_cells(grid), tuning.compute, task_subject)
    seconds = sum(row["cpu_seconds"] for row in rows + tuned)
    command = "make bench-quality" + (" QUICK=1" if quick else "")
    title = (
        f"# Quality tables ({'quick' if quick else 'full'} run)\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, `{command}`, {platform.machine()} with {os.cpu_count()} "
        f"cores, one thread, torch {torch.__version__}; {seconds:.0f} CPU seconds for all rows. "
        f"{len(grid.seeds)} seed(s), {grid.calibration_samples} calibration records. In brackets: "
        "difference to the best baseline (bold) with its 95 % paired bootstrap interval over "
        "records; ± is the standard deviation over seeds."
    )
    write(title, rows, tuned, DOCS / "quick" if quick else DOCS)
    print(f"{time.monotonic() - started:.0f} s; see {DOCS}")


if __name__ == "__main__":
    main()
