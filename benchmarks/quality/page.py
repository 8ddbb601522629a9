"""Tables, curves and the figures behind them, as files of docs/quality."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from app.recipes.evaluation import MetricName
from benchmarks.quality.cache import ROOT
from benchmarks.quality.cell import DENSE
from benchmarks.quality.curves import curves
from benchmarks.quality.grid import Grid
from benchmarks.quality.pruners import find_pruner
from benchmarks.quality.sections import Section
from benchmarks.quality.tables import table

DOCS = ROOT / "docs" / "quality"


def write(grid: Grid, sections: Sequence[Section], docs: Path = DOCS) -> Path:
    """Write what is known of the sections; returns the directory.

    Args:
        grid: what was asked for.
        sections: with their rows.
        docs: where the grid's directory goes.
    """
    out = docs / grid.place
    out.mkdir(parents=True, exist_ok=True)
    lines = [f"# {grid.title}", "", _preface(grid, sections), "", "## Pruned as is", ""]
    for section in sections:
        if not section.tuned:
            lines += _table(section) + _figure(section, out)
    if any(section.tuned for section in sections):
        lines += ["## Pruned once, then fine-tuned with the masks kept", ""]
    for section in sections:
        if section.tuned:
            lines += _table(section)
    (out / "tables.md").write_text("\n".join(lines).rstrip() + "\n")
    kept = [
        {key: value for key, value in row.items() if key not in {"values", "weights"}}
        for section in sections
        for row in section.rows
    ]
    content = ",\n".join(json.dumps(row) for row in kept)
    (out / "rows.json").write_text(f"[\n{content}\n]\n")
    return out


def _preface(grid: Grid, sections: Sequence[Section]) -> str:
    rows = [row for section in sections for row in section.rows]
    wanted = sum(len(section.cells) for section in sections)
    seconds = sum(_seconds(section) for section in sections)
    seeds = f"{len(grid.seeds)} seed(s)"
    if any(section.tuned for section in sections):
        seeds += f", {len(grid.tuned_seeds)} where models are fine-tuned"
    missing = "" if len(rows) == wanted else f" {wanted - len(rows)} of {wanted} rows are missing."
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `{grid.command}`, {_processor()}, {os.cpu_count()} cores, "
        f"one thread, torch {torch.__version__}; {seconds:.0f} CPU seconds.{missing} "
        f"{seeds}; {grid.calibration_samples} calibration records. In brackets: "
        "difference to the best baseline of the column (bold) with its 95 % bootstrap interval, "
        "paired by record after averaging over seeds; ± is the standard deviation over seeds."
    )


def _seconds(section: Section) -> float:
    """CPU time; a row that stands for several seeds counts once."""
    found = {
        (row["cell"]["pruner"], row["cell"]["sparsity"], row["value"], row["cpu_seconds"])
        for row in section.rows
    }
    return sum(seconds for *_, seconds in found)


def _processor() -> str:
    """Name of the processor, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def _table(section: Section) -> list[str]:
    pruned = [row for row in section.rows if row["cell"]["pruner"] != DENSE]
    if not pruned:
        return []
    metric, records = pruned[0]["metric"], len(pruned[0]["values"])
    return [
        f"### {section.name}: {metric}, {records} records",
        "",
        *table(pruned, _dense(section)),
        "",
    ]


def _dense(section: Section) -> float | None:
    return next((row["value"] for row in section.rows if row["cell"]["pruner"] == DENSE), None)


def _figure(section: Section, out: Path) -> list[str]:
    dense, drawn = _dense(section), _means(section)
    if dense is None or not drawn:
        return []
    metric = MetricName(section.rows[0]["metric"])
    title = f"{section.name}: {metric}{', lower is better' if metric.lower_is_better else ''}"
    picture = curves(title, drawn, dense, logarithmic=metric.lower_is_better)
    (out / f"{section.name}.svg").write_text(picture)
    return [f"![{section.name}]({section.name}.svg)", ""]


def _means(section: Section) -> dict[str, list[tuple[float, float]]]:
    """(sparsity, mean over seeds) by pruner that is drawn."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in section.rows:
        cell = row["cell"]
        if cell["pruner"] != DENSE and find_pruner(cell["pruner"]).drawn:
            spots = found.setdefault(cell["pruner"], {})
            spots.setdefault(cell["sparsity"], []).append(row["value"])
    return {
        pruner: [(share, sum(values) / len(values)) for share, values in sorted(spots.items())]
        for pruner, spots in found.items()
    }
