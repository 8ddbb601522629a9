"""`/v1/jobs`: submit, list, look, cancel, events."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.deps import Transaction, WithResources
from app.api.schemas.jobs import EventOut, EventPage, JobOut, JobPage
from app.domain.jobs import JobStatus
from app.domain.submission import JobRequest
from app.services import datasets, jobs
from app.storage.datasets import DatasetStore

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=HTTPStatus.ACCEPTED)
def submit(
    request: JobRequest, response: Response, resources: WithResources, transaction: Transaction
) -> JobOut:
    """Queue a pruning job; `Location` is where to watch it."""
    settings = resources.settings
    datasets.check_named(DatasetStore(settings.storage.dir), request)
    job = jobs.submit(
        transaction,
        request,
        store=resources.store,
        model_roots=settings.models.roots,
        max_attempts=settings.worker.max_attempts,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobOut.of(job)


@router.get("")
def page(
    transaction: Transaction,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    status: JobStatus | None = None,
) -> JobPage:
    """List jobs, newest first."""
    found, next_cursor = jobs.page(transaction, limit=limit, cursor=cursor, status=status)
    return JobPage(jobs=[JobOut.of(job) for job in found], next_cursor=next_cursor)


@router.get("/{job_id}")
def get(job_id: str, transaction: Transaction) -> JobOut:
    """Look at one job."""
    return JobOut.of(jobs.get(transaction, job_id))


@router.post("/{job_id}/cancel")
def cancel(job_id: str, transaction: Transaction) -> JobOut:
    """Stop a job: at once while it is queued, at the next block while it runs."""
    return JobOut.of(jobs.cancel(transaction, job_id))


@router.get("/{job_id}/events")
def events(
    job_id: str,
    transaction: Transaction,
    after: Annotated[int, Query(ge=0, lt=2**63, description="id of the last event seen")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> EventPage:
    """Read the job's event log, oldest first."""
    found = jobs.list_events(transaction, job_id, after=after, limit=limit)
    return EventPage(events=[EventOut.of(event) for event in found])
