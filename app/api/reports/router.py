"""`/v1/jobs/{id}/report`: what a job did, as one page for people."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.api.http.endpoints import Reader, Transaction, WithResources
from app.api.http.guests import BrowserRoute
from app.api.reports.job_page import job_page
from app.recipes.pruning_report import PAGE_FILE
from app.reports.history import history
from app.reports.html import with_history
from app.services.jobs import artifacts
from app.services.jobs import service as jobs

router = APIRouter(prefix="/v1/jobs/{job_id}/report", tags=["artifacts"], route_class=BrowserRoute)

MOST_EVENTS = 10_000
# Names in the page come from models; it runs and loads nothing whatever they are.
ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@router.get("", response_class=HTMLResponse)
def get_job_report(
    job_id: str, resources: WithResources, caller: Reader, transaction: Transaction
) -> HTMLResponse:
    """Read about any job as a page: its `report.html`, or what is known where it has none.

    A failed job's page tells what happened, in which phase, and what to do. A browser may open it:
    it asks for a name, which may be any, and a password, which is the key.
    """
    job = jobs.get(transaction, caller, job_id)
    files = artifacts.listing(transaction, caller, job_id)
    events = jobs.list_events(transaction, caller, job_id, after=0, limit=MOST_EVENTS)
    written = next((file for file in files if file.path == PAGE_FILE), None)
    if written is None:
        return HTMLResponse(job_page(job, events, files), headers=ALONE)
    page = b"".join(resources.store.read(written)).decode()
    return HTMLResponse(with_history(page, history(job, events)), headers=ALONE)
