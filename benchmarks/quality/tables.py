"""Rows -> markdown: mean and spread over seeds, and the paired difference to the best baseline."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from app.recipes.evaluation import MetricName
from benchmarks.quality.pruners import TABLE
from workers.pipeline.evaluation.interval import RecordScores, compare, exponential

Row = Mapping[str, Any]
BASELINES = {pruner.label for pruner in TABLE if pruner.baseline}


def scores(rows: Sequence[Row]) -> RecordScores:
    """One value per record, its mean over seeds: every seed is judged on the same records."""
    of = {"of": exponential} if rows[0]["metric"] == MetricName.PERPLEXITY else {}
    values = np.mean([row["values"] for row in rows], axis=0)
    return RecordScores(values, np.asarray(rows[0]["weights"]), **of)


def spread(rows: Sequence[Row]) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    values = [row["value"] for row in rows]
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def best_baseline(column: Mapping[str, Sequence[Row]]) -> str | None:
    """Label of the best baseline of a column."""
    known = [label for label in column if label in BASELINES]
    if not known:
        return None
    lower = MetricName(column[known[0]][0]["metric"]).lower_is_better
    value = {label: mean(row["value"] for row in column[label]) for label in known}
    return min(known, key=value.__getitem__) if lower else max(known, key=value.__getitem__)


def table(rows: Sequence[Row], dense: float | None) -> list[str]:
    """Pruners down, sparsities across; the best baseline is bold, differences are to it."""
    columns: dict[float, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        columns[row["cell"]["sparsity"]][row["cell"]["pruner"]].append(row)
    labels = list(dict.fromkeys(row["cell"]["pruner"] for row in rows))
    head = [f"{sparsity:.0%}" for sparsity in columns]
    lines = [f"| pruner | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    if dense is not None:
        lines.append(f"| dense | {' | '.join([f'{dense:.3f}'] * len(head))} |")
    for label in labels:
        cells = [_cell(column, label) for column in columns.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _cell(column: Mapping[str, Sequence[Row]], label: str) -> str:
    if label not in column:
        return ""
    best = best_baseline(column)
    text = spread(column[label])
    if label == best:
        return f"**{text}**"
    if best is None:
        return text
    return f"{text} ({_difference(column[best], column[label])})"


def _difference(best: Sequence[Row], rows: Sequence[Row]) -> str:
    """Paired by record, over the seeds that both have."""
    shared = {row["cell"]["seed"] for row in best} & {row["cell"]["seed"] for row in rows}
    left, right = (
        scores([row for row in side if row["cell"]["seed"] in shared]) for side in (best, rows)
    )
    found = compare(left, right, seed=0).change
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
