"""`/console/new`: a job from a form, with its plan beside it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from app.api.http.endpoints import WithResources, WithRules
from app.console.forms import OF_THE_CALLER, FormError, Wrong, as_curl, as_python, mistakes
from app.console.job_form import body_of, request_of, values_of
from app.console.offers import offers
from app.console.outcome import target_of
from app.console.schema_fields import PREFIX, fields_of
from app.console.visits import HOME, ROOT, PageRoute, SignedIn, Visit, address_of
from app.domain.projects import Scope
from app.errors import SecateurError
from app.recipes.methods import METHODS
from app.services.jobs import plans
from app.services.jobs import service as jobs
from app.services.jobs import submit as submissions
from app.services.jobs.submit import Rules

router = APIRouter(prefix=f"{ROOT}/new", route_class=PageRoute, include_in_schema=False)

_BLANK = {"method": "recommended", "sparsity": "0.5"}


@router.get("")
def form(
    visit: SignedIn,
    rules: WithRules,
    source: Annotated[str, Query()] = "",
    calibration: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """Show the form: empty, or as an earlier job was asked for."""
    values = _BLANK | ({"calibration_set": calibration} if calibration else {})
    with visit.admitted(Scope.SUBMIT) as desk:
        if source:
            values = values_of(jobs.get(desk.connection, desk.caller, source).stored_request)
        offered = offers(desk, rules)
    return desk.page("new_job.html", **offered, **_shown(values), source=source, wrong=[])


@router.post("/fields")
def fields(visit: SignedIn) -> Response:
    """The part of the form that the method decides."""
    with visit.admitted(Scope.SUBMIT) as desk:
        pass
    sent = _sent(visit)
    if "sparsity" not in sent:  # the method before had none
        sent["sparsity"] = _BLANK["sparsity"]
    return desk.page("_method.html", **_shown(sent))


@router.post("/plan")
def plan(visit: SignedIn, rules: WithRules) -> Response:
    """What the job would do, or why it would be refused."""
    found, wrong, body = None, [], {}
    with visit.admitted(Scope.SUBMIT) as desk:
        pass
    try:
        body = body_of(visit.field, visit.form)
        request = request_of(body)
        with visit.resources.engine.begin() as connection:
            found = plans.plan(connection, desk.caller, request, rules)
    except (FormError, SecateurError) as error:
        wrong = mistakes(error)
    address = address_of(visit.request) + "/v1/jobs"
    return desk.page(
        "_plan.html",
        plan=found,
        wrong=wrong,
        empty=not visit.field("model"),
        target=target_of(body),
        curl=as_curl(address, body),
        python=as_python(address, body),
    )


@router.post("")
def submit(visit: SignedIn, rules: WithRules, resources: WithResources) -> Response:
    """Submit it; a form with mistakes comes back with what they are."""
    source = visit.field("source")
    try:
        request = request_of(body_of(visit.field, visit.form))
        with visit.admitted(Scope.SUBMIT) as desk:
            told: dict[str, Any] = {}
            if source:
                jobs.get(desk.connection, desk.caller, source)
                told = {"source_id": source, "action": "job.clone"}
            job = submissions.submit(desk.connection, desk.caller, request, rules, **told)
    except (FormError, SecateurError) as error:
        if error.status in OF_THE_CALLER:
            raise
        return _again(visit, rules, mistakes(error), error.status)
    resources.announcer.news.set()
    return RedirectResponse(f"{HOME}/{job.id}", HTTPStatus.SEE_OTHER)


def _again(visit: Visit, rules: Rules, wrong: list[Wrong], status: int) -> Response:
    with visit.admitted(Scope.SUBMIT) as desk:
        offered = offers(desk, rules)
    shown = _shown(_sent(visit))
    return desk.page(
        "new_job.html", status, **offered, **shown, source=visit.field("source"), wrong=wrong
    )


def _sent(visit: Visit) -> dict[str, str]:
    return {name: visit.field(name) for name in visit.form}


def _shown(values: Mapping[str, str]) -> dict[str, Any]:
    """What the form is filled with."""
    method = METHODS.get(values.get("method", ""))
    fields = fields_of(method.model_json_schema()) if method else []
    return {
        "values": values,
        "method": method,
        "fields": fields,
        "changed": any(values.get(PREFIX + field.name) for field in fields),
        "prefix": PREFIX,
    }
