"""`/v1/jobs/{id}/report`: what a job did, as one page for people."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.api.deps import Reader, WithResources
from app.api.timeline import timeline
from app.api.transactions import Transaction, TransactionRoute
from app.domain.report import PAGE_FILE, TIMELINE
from app.services import artifacts, jobs

router = APIRouter(
    prefix="/v1/jobs/{job_id}/report", tags=["artifacts"], route_class=TransactionRoute
)

MOST_EVENTS = 10_000
# Names in the page come from models; it runs and loads nothing whatever they are.
ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@router.get("", response_class=HTMLResponse)
def report(
    job_id: str, resources: WithResources, caller: Reader, transaction: Transaction
) -> HTMLResponse:
    """Read the job's `report.html`, with a timeline of its events in it."""
    artifact = artifacts.get(transaction, caller, job_id, PAGE_FILE)
    events = jobs.list_events(transaction, caller, job_id, after=0, limit=MOST_EVENTS)
    page = b"".join(resources.store.read(artifact)).decode()
    return HTMLResponse(page.replace(TIMELINE, timeline(events)), headers=ALONE)
