"""`/console/new-sweep`: a sweep from a form, with what it comes to beside it."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from app.api.http.endpoints import WithResources, WithRules
from app.console.forms import OF_THE_CALLER, FormError, Wrong, as_curl, as_python, mistakes
from app.console.offers import offers
from app.console.routes.sweeps import SWEEPS
from app.console.sweep_form import body_of, request_of
from app.console.visits import ROOT, PageRoute, SignedIn, Visit, address_of
from app.domain.projects import Caller, Scope
from app.domain.sweeps import SweepRequest
from app.errors import SecateurError
from app.services.jobs import plans
from app.services.jobs.plans import Plan
from app.services.jobs.submit import Rules
from app.services.sweeps import service as sweeps

NEW = f"{ROOT}/new-sweep"
router = APIRouter(prefix=NEW, route_class=PageRoute, include_in_schema=False)

_BLANK = {"sparsities": "0.5, 0.6, 0.7"}
_TICKED = ("magnitude", "recommended")


@router.get("")
def form(visit: SignedIn, rules: WithRules) -> Response:
    """Show the form."""
    with visit.admitted(Scope.SUBMIT) as desk:
        offered = offers(desk, rules)
    return desk.page("new_sweep.html", **offered, values=_BLANK, ticked=_TICKED, wrong=[])


@router.post("/check")
def check(visit: SignedIn, rules: WithRules) -> Response:
    """What the sweep would do, method by method, or why it would be refused."""
    rows, wrong, body = list[Row](), list[Wrong](), dict[str, Any]()
    with visit.admitted(Scope.SUBMIT) as desk:
        pass
    try:
        body = _body(visit)
        rows = _rows(visit, desk.caller, request_of(body), rules)
    except (FormError, SecateurError) as error:
        wrong = mistakes(error)
    address = address_of(visit.request) + "/v1/sweeps"
    return desk.page(
        "_sweep_plan.html",
        rows=rows,
        wrong=wrong,
        empty=not visit.field("model"),
        curl=as_curl(address, body),
        python=as_python(address, body),
    )


@router.post("")
def submit(visit: SignedIn, rules: WithRules, resources: WithResources) -> Response:
    """Submit it; a form with mistakes comes back with what they are."""
    try:
        request = request_of(_body(visit))
        with visit.admitted(Scope.SUBMIT) as desk:
            sweep = sweeps.submit(desk.connection, desk.caller, request, rules)
    except (FormError, SecateurError) as error:
        if error.status in OF_THE_CALLER:
            raise
        return _again(visit, rules, mistakes(error), error.status)
    resources.announcer.news.set()
    return RedirectResponse(f"{SWEEPS}/{sweep.id}", HTTPStatus.SEE_OTHER)


def _again(visit: Visit, rules: Rules, wrong: list[Wrong], status: int) -> Response:
    with visit.admitted(Scope.SUBMIT) as desk:
        offered = offers(desk, rules)
    values = {name: visit.field(name) for name in visit.form}
    ticked = visit.form.get("methods", [])
    return desk.page("new_sweep.html", status, **offered, values=values, ticked=ticked, wrong=wrong)


def _body(visit: Visit) -> dict[str, Any]:
    return body_of(visit.field, visit.form.get("methods", []))


@dataclass(frozen=True, slots=True)
class Row:
    """The jobs of one method; `plan` is that of the first of them."""

    method: str
    jobs: int
    plan: Plan


def _rows(visit: Visit, caller: Caller, request: SweepRequest, rules: Rules) -> list[Row]:
    members = request.members()
    names = [each.method or "recipe" for each in members]
    with visit.resources.engine.begin() as connection:
        return [
            Row(
                name,
                names.count(name),
                plans.plan(connection, caller, members[names.index(name)], rules),
            )
            for name in dict.fromkeys(names)
        ]
