"""`/console/sweeps`: sweeps, and each with its jobs side by side."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError

from app.console.leaderboard import MOST_SERIES, Across, plot_of, rows_of, series_of
from app.console.outcome import target_of
from app.console.visits import ROOT, Desk, PageRoute, SignedIn
from app.domain.models import ModelName
from app.domain.projects import Scope
from app.domain.sweeps import MemberResult, Sweep, SweepUnreadableError
from app.errors import ArtifactNotFoundError
from app.recipes.evaluation import MetricName
from app.services import models
from app.services.lifecycle.leaderboard import rank_members
from app.services.sweeps import service as sweeps

SWEEPS = f"{ROOT}/sweeps"
router = APIRouter(prefix=SWEEPS, route_class=PageRoute, include_in_schema=False)

PAGE = 25

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
def show(
    sweep_id: str,
    visit: SignedIn,
    metric: MetricName | None = None,
    across: Across = Across.ZEROS,
) -> Response:
    """Compare the jobs of a sweep."""
    with visit.admitted() as desk:
        sweep = sweeps.get(desk.connection, desk.caller, sweep_id)
        name, members, unreadable = _ranked(desk, sweep, metric)
        counts = sweeps.counts(desk.connection, [sweep])[sweep.id]
    objective = None if unreadable else sweep.request.objective
    plot = plot_of(members, name, across) if name else None
    shown = desk.page(
        "sweep.html",
        sweep=sweep,
        summary=_summary(sweep),
        counts=counts,
        metric=name,
        metrics=_measured_metrics(members),
        members=rows_of(members, name),
        across=across,
        objective=objective,
        known=objective is not None and objective.metric in _measured_metrics(members),
        unreadable=unreadable,
        plot=json.dumps(plot) if plot else "",
        series=len({series_of(each) for each in members}),
        most=MOST_SERIES,
        live=not sweep.status.terminal,
    )
    if sweep.status.terminal and "hx-request" in visit.request.headers:
        shown.headers["HX-Refresh"] = "true"  # the form to publish is there now
    return shown


@router.post("/{sweep_id}/cancel")
def cancel(sweep_id: str, visit: SignedIn) -> Response:
    """Stop all jobs of a sweep."""
    with visit.admitted(Scope.SUBMIT) as desk:
        sweeps.cancel(desk.connection, desk.caller, sweep_id)
    return RedirectResponse(f"{SWEEPS}/{sweep_id}", HTTPStatus.SEE_OTHER)


@router.post("/{sweep_id}/publish")
def publish(sweep_id: str, visit: SignedIn) -> Response:
    """Make the best job the next version of a model."""
    asked = {"name": visit.field("name")}
    try:
        name = TypeAdapter(ModelName).validate_python(asked["name"])
    except ValidationError as error:
        issues = [issue | {"loc": ("body", "name")} for issue in error.errors()]
        raise RequestValidationError(issues, body=asked) from error
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
        if name not in measured and measured:  # rather than dashes
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
