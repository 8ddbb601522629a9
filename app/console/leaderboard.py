"""The jobs of a sweep side by side: figures, which of them nothing beats, and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.console.outcome import target_of
from app.domain.jobs import Job
from app.domain.sweeps import MemberResult
from app.recipes.evaluation import Measured, MetricName
from app.recipes.performance import PerformanceReport

MOST_SERIES = 7  # of a plot that can still be read


class Across(StrEnum):
    """What quality is drawn against."""

    ZEROS = "zeros"
    SIZE = "size"


_LABELS = {
    Across.ZEROS: "Zero weights in the pruned matrices, %",
    Across.SIZE: "Packed size, MB",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A job of the sweep with its figures.

    Attributes:
        pareto: no other job is as good and smaller, or as small and better.
    """

    job: Job
    target: str
    sparsity: float | None
    packed: int | None
    measured: Measured | None
    drop: float | None
    pareto: bool
    performance: PerformanceReport | None


def rows_of(members: Sequence[MemberResult], metric: MetricName | None) -> list[Member]:
    """The members as rows of a table, in their order."""
    best = _unbeaten(members)
    return [
        Member(
            each.job,
            target_of(each.job.stored_request),
            each.sparsity,
            _packed(each),
            _measured(each, metric),
            each.drop,
            each.job.id in best,
            each.performance,
        )
        for each in members
    ]


def _unbeaten(members: Sequence[MemberResult]) -> set[str]:
    """Ids of the pareto set: of size, or of sparsity where sizes are not known, and drop."""
    known = [each for each in members if each.measured and each.sparsity is not None]
    sized = all(_packed(each) for each in known)
    points = {
        each.job.id: ((_packed(each) if sized else -(each.sparsity or 0)) or 0, each.drop or 0)
        for each in known
    }
    return {
        name
        for name, (size, drop) in points.items()
        if not any(
            other != (size, drop) and other[0] <= size and other[1] <= drop
            for other in points.values()
        )
    }


def _packed(each: MemberResult) -> int | None:
    sizes = each.result.sizes if each.result else None
    return sizes.packed if sizes else None


def _measured(each: MemberResult, metric: MetricName | None) -> Measured | None:
    report = each.result.evaluation if each.result else None
    return report.metrics.get(metric) if report and metric else None


def series_of(each: MemberResult) -> str:
    """A method and its pattern: what a line of the plot stands for."""
    pattern = each.job.stored_request.get("pattern", "unstructured")
    return each.job.method + ("" if pattern == "unstructured" else f" {pattern}")


def _place(each: MemberResult, across: Across) -> float | None:
    if across is Across.ZEROS:
        return None if each.sparsity is None else 100 * each.sparsity
    packed = _packed(each)
    return None if packed is None else packed / 1e6


def plot_of(
    members: Sequence[MemberResult], metric: MetricName, across: Across
) -> dict[str, Any] | None:
    """Points (place, value, low, high) of every method, the dense model, the gate; None without."""
    series: dict[str, dict[float, tuple[float, float, float, float]]] = {}
    dense, gate = None, None
    for each in members:
        measured, place = _measured(each, metric), _place(each, across)
        if measured is None or place is None:
            continue
        after = measured.after
        point = (place, after.value, after.low, after.high)
        series.setdefault(series_of(each), {})[place] = point
        dense = dense or measured.before
        gate = gate if gate is not None else _gate(each, metric, measured)
    # A method keeps its colour whatever ranks first, and while jobs of others end.
    colours = dict(zip(sorted({*map(series_of, members)}), range(1, MOST_SERIES + 1), strict=False))
    drawn = [name for name in colours if name in series]
    if dense is None or not drawn:
        return None
    return {
        "x": _LABELS[across],
        "y": metric.value.replace("_", " ")
        + (" (lower is better)" if metric.lower_is_better else " (higher is better)"),
        "series": [
            {"name": name, "colour": colours[name], "points": sorted(series[name].values())}
            for name in drawn
        ],
        "dense": [dense.value, dense.low, dense.high],
        "gate": gate,
    }


def _gate(each: MemberResult, metric: MetricName, measured: Measured) -> float | None:
    """The worst value that the job's quality gate allows, where it is on this metric."""
    report = each.result.evaluation.gate if each.result and each.result.evaluation else None
    if report is None or report.metric != metric:
        return None
    sign = 1 if metric.lower_is_better else -1
    return measured.before.value + sign * report.max_drop
