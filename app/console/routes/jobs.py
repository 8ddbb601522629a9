"""`/console/jobs`: the project's jobs, and what can be done with each."""

from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app.api.http.endpoints import WithRules
from app.api.jobs.schemas import JobQuery
from app.console.outcome import Row
from app.console.visits import HOME, PageRoute, SignedIn
from app.domain.jobs import JobStatus
from app.domain.projects import Scope
from app.recipes.methods import METHODS
from app.services.jobs import service as jobs
from app.services.jobs import submit as submissions

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

PAGE = 25


@router.get("")
def listing(visit: SignedIn) -> Response:
    """List jobs; the page asks for itself again while some of them have not ended."""
    given = _given(visit.request)
    query = _query(given)
    with visit.admitted() as desk:
        found, following = jobs.page(
            desk.connection, desk.caller, limit=PAGE, cursor=query.cursor, only=query.filter()
        )
    filters = {name: value for name, value in given.items() if name != "cursor"}
    return desk.page(
        "jobs.html",
        rows=[Row.of(job) for job in found],
        live=any(not job.status.terminal for job in found) or query.cursor is None,
        filters=filters,
        query=query,
        statuses=list(JobStatus),
        methods=sorted(METHODS),
        here=f"{HOME}?{urlencode(given, doseq=True)}",
        first=f"{HOME}?{urlencode(filters, doseq=True)}",
        following=following and f"{HOME}?{urlencode(filters | {'cursor': following}, doseq=True)}",
    )


@router.post("/{job_id}/cancel")
def cancel(job_id: str, visit: SignedIn) -> Response:
    """Stop a job."""
    with visit.admitted(Scope.SUBMIT) as desk:
        jobs.cancel(desk.connection, desk.caller, job_id)
    return RedirectResponse(f"{HOME}/{job_id}", HTTPStatus.SEE_OTHER)


@router.post("/{job_id}/retry")
def retry(job_id: str, visit: SignedIn, rules: WithRules) -> Response:
    """Submit a failed or cancelled job again."""
    with visit.admitted(Scope.SUBMIT) as desk:
        job = submissions.retry(desk.connection, desk.caller, job_id, rules)
    visit.resources.announcer.news.set()
    return RedirectResponse(f"{HOME}/{job.id}", HTTPStatus.SEE_OTHER)


def _given(request: Request) -> dict[str, str | list[str]]:
    """What the address says, without fields that were left empty."""
    params = request.query_params
    found: dict[str, str | list[str]] = {
        name: value.strip() for name, value in params.items() if value.strip() and name != "label"
    }
    labels = [label.strip() for label in params.getlist("label") if label.strip()]
    return found | ({"label": labels} if labels else {})


def _query(given: dict[str, str | list[str]]) -> JobQuery:
    try:
        return JobQuery.model_validate(given)
    except ValidationError as error:
        issues = [issue | {"loc": ("query", *issue["loc"])} for issue in error.errors()]
        raise RequestValidationError(issues) from error
