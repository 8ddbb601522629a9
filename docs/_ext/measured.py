"""What we measured of each method: read from the rows behind our tables, of which any may lack."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.quality.pruners import TABLE

ROWS = Path(__file__).parents[1] / "quality/rows.json"
DENSE = "dense"
HALF = 0.5
# What is a cell of the first table and of no other: one model, pruned once.
PLAIN = {"subject", "pruner", "sparsity", "seed", "calibration", "samples"}

# (model, metric) -> pruner -> sparsity -> mean over seeds
Figures = Mapping[tuple[str, str], Mapping[str, Mapping[float, float]]]


def figures(rows: Sequence[Mapping[str, Any]] | None = None) -> Figures:
    """The figures of the first table, from those rows or from the file; empty where there is none."""
    if rows is None:
        rows = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    values: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    for row in rows:
        if row["cell"].keys() == PLAIN:
            cell = row["cell"]
            model = values.setdefault((cell["subject"], row["metric"]), {})
            pruner = model.setdefault(cell["pruner"], defaultdict(list))
            pruner[cell["sparsity"]].append(row["value"])
    return {
        model: {
            pruner: {sparsity: fmean(each) for sparsity, each in sorted(by_sparsity.items())}
            for pruner, by_sparsity in by_pruner.items()
        }
        for model, by_pruner in values.items()
    }


def section(method: str, known: Figures) -> str:
    """The end of the method's page: its rows beside the dense model."""
    labels = [pruner.label for pruner in TABLE if pruner.method == method]
    parts = ["## Measured"]
    for (model, metric), by_pruner in sorted(known.items()):
        rows = {label: by_pruner[label] for label in labels if label in by_pruner}
        if rows:
            columns = sorted({sparsity for row in rows.values() for sparsity in row})
            head = [f"`{model}`, {metric}", DENSE, *(f"{sparsity:.0%}" for sparsity in columns)]
            dense = _number(by_pruner.get(DENSE, {}).get(0.0))
            lines = [
                [label, dense, *(_number(row.get(sparsity)) for sparsity in columns)]
                for label, row in rows.items()
            ]
            parts.append(_table([head, ["---"] * len(head), *lines]))
    if len(parts) == 1:
        return ""
    said = "Mean over seeds, by `make bench-quality`; [every method side by side](../quality/tables.md)."
    return "\n\n".join([parts[0], said, *parts[1:]]) + "\n"


def at_half(model: str, known: Figures) -> dict[str, str]:
    """Method -> what the model scores with half of its weights gone; `dense` with all of them."""
    [by_pruner] = [each for (name, _), each in known.items() if name == model] or [{}]
    found = {DENSE: _number(by_pruner.get(DENSE, {}).get(0.0))}
    for pruner in reversed(TABLE):
        if HALF in by_pruner.get(pruner.label, {}):
            found[pruner.method] = _number(by_pruner[pruner.label][HALF])
    return found


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
