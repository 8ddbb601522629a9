"""`/console/sweeps`: sweeps, and each with its jobs side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from app.console.outcome import target_of
from app.console.visits import ROOT, Desk, PageRoute, SignedIn
from app.domain.jobs import Job
from app.domain.models import ModelName
from app.domain.projects import Scope
from app.domain.sweeps import MemberResult, Sweep, SweepUnreadableError
from app.errors import ArtifactNotFoundError
from app.recipes.evaluation import Measured, MetricName
from app.services import models
from app.services.lifecycle.leaderboard import rank_members
from app.services.sweeps import service as sweeps

SWEEPS = f"{ROOT}/sweeps"
router = APIRouter(prefix=SWEEPS, route_class=PageRoute, include_in_schema=False)

PAGE = 25
MOST_SERIES = 7  # of a plot that can still be read

Cursor = Annotated[str | None, Query(max_length=64)]


@router.get("")
def listing(visit: SignedIn, cursor: Cursor = None) -> Response:
    """List sweeps, newest first."""
    with visit.admitted() as desk:
        found, following = sweeps.page(desk.connection, desk.caller, limit=PAGE, cursor=cursor)
        counts = sweeps.counts(desk.connection, found)
    return desk.page(
        "sweeps.html",
        sweeps=[(sweep, _summary(sweep), counts[sweep.id]) for sweep in found],
        cursor=cursor,
        following=following and f"{SWEEPS}?cursor={following}",
    )


@router.get("/{sweep_id}")
def show(sweep_id: str, visit: SignedIn, metric: MetricName | None = None) -> Response:
    """Compare the jobs of a sweep."""
    with visit.admitted() as desk:
        sweep = sweeps.get(desk.connection, desk.caller, sweep_id)
        name, members, unreadable = _ranked(desk, sweep, metric)
        counts = sweeps.counts(desk.connection, [sweep])[sweep.id]
    objective = None if unreadable else sweep.request.objective
    return desk.page(
        "sweep.html",
        sweep=sweep,
        summary=_summary(sweep),
        counts=counts,
        metric=name,
        metrics=_measured_metrics(members),
        members=[Member.of(each, name) for each in members],
        objective=objective,
        unreadable=unreadable,
        plot=json.dumps(_plot(members, name)) if name and any(m.measured for m in members) else "",
        series=len({_series_of(each) for each in members}),
        most=MOST_SERIES,
        live=not sweep.status.terminal,
    )


@router.post("/{sweep_id}/cancel")
def cancel(sweep_id: str, visit: SignedIn) -> Response:
    """Stop all jobs of a sweep."""
    with visit.admitted(Scope.SUBMIT) as desk:
        sweeps.cancel(desk.connection, desk.caller, sweep_id)
    return RedirectResponse(f"{SWEEPS}/{sweep_id}", HTTPStatus.SEE_OTHER)


@router.post("/{sweep_id}/publish")
def publish(sweep_id: str, visit: SignedIn) -> Response:
    """Make the best job the next version of a model."""
    try:
        name = TypeAdapter(ModelName).validate_python(visit.field("name"))
    except ValidationError as error:
        issues = [issue | {"loc": ("body", "name")} for issue in error.errors()]
        raise RequestValidationError(issues) from error
    with visit.admitted(Scope.SUBMIT) as desk:
        best = sweeps.get(desk.connection, desk.caller, sweep_id).best_id
        if best is None:
            raise ArtifactNotFoundError(f"sweep {sweep_id!r} has no best job yet")
        models.publish(desk.connection, desk.caller, name, best)
    return RedirectResponse(f"{ROOT}/models/{name}", HTTPStatus.SEE_OTHER)


def _ranked(
    desk: Desk, sweep: Sweep, metric: MetricName | None
) -> tuple[MetricName | None, Sequence[MemberResult], str]:
    """The metric and the members, the best first; and why the request cannot be read, if so."""
    try:
        name, members = rank_members(desk.connection, sweep, metric)
        measured = _measured_metrics(members)
        if name is None and measured:
            name, members = rank_members(desk.connection, sweep, measured[0])
    except SweepUnreadableError as error:
        return None, (), str(error)
    return name, members, ""


def _summary(sweep: Sweep) -> str:
    """Methods and sparsities, as they were asked for."""
    asked = sweep.stored_request
    named = [str(each.get("method", "recipe")) for each in asked.get("methods", ())]
    methods = ", ".join(dict.fromkeys(named))
    targets = ", ".join(target_of({"sparsity": each}) for each in asked.get("sparsities", ()))
    return f"{methods} at {targets}" if targets else methods


def _measured_metrics(members: Sequence[MemberResult]) -> list[MetricName]:
    reports = [each.result.evaluation for each in members if each.result]
    return list(dict.fromkeys(name for report in reports if report for name in report.metrics))


@dataclass(frozen=True, slots=True)
class Member:
    """A job of the sweep with its figures."""

    job: Job
    target: str
    sparsity: float | None
    packed: int | None
    measured: Measured | None
    drop: float | None

    @classmethod
    def of(cls, each: MemberResult, metric: MetricName | None) -> "Member":
        """A row of the table."""
        sizes = each.result.sizes if each.result else None
        return cls(
            each.job,
            target_of(each.job.stored_request),
            each.sparsity,
            sizes.packed if sizes else None,
            _measured(each, metric),
            each.drop,
        )


def _measured(each: MemberResult, metric: MetricName | None) -> Measured | None:
    report = each.result.evaluation if each.result else None
    return report.metrics.get(metric) if report and metric else None


def _series_of(each: MemberResult) -> str:
    """A method and its pattern: what a line of the plot stands for."""
    pattern = each.job.stored_request.get("pattern", "unstructured")
    return each.job.method + ("" if pattern == "unstructured" else f" {pattern}")


def _plot(members: Sequence[MemberResult], metric: MetricName) -> dict[str, Any]:
    """Points (share of zeros, value, low, high) of every method, the dense model, the gate."""
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    dense, gate = None, None
    for each in members:
        measured = _measured(each, metric)
        if measured is None or each.sparsity is None or each.result is None:
            continue
        after = measured.after
        point = (each.sparsity, after.value, after.low, after.high)
        series.setdefault(_series_of(each), []).append(point)
        dense = dense or measured.before
        report = each.result.evaluation.gate if each.result.evaluation else None
        if report and report.metric == metric:
            sign = 1 if metric.lower_is_better else -1
            gate = measured.before.value + sign * report.max_drop
    # By name, so that a method keeps its colour whatever ranks first.
    shown = {name: series[name] for name in sorted(series)[:MOST_SERIES]}
    return {
        "metric": metric.value.replace("_", " "),
        "better": "lower is better" if metric.lower_is_better else "higher is better",
        "series": [
            {"name": name, "points": sorted({point[0]: point for point in points}.values())}
            for name, points in shown.items()
        ],
        "dense": [dense.value, dense.low, dense.high] if dense else None,
        "gate": gate,
    }
