"""`/v1/jobs`: submit, list, look, wait, change, cancel, retry, clone, delete."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import Connection

from app.api.http.documented import ETAG
from app.api.http.endpoints import (
    IdempotencyKey,
    IfMatch,
    Queueing,
    Reader,
    Submitter,
    Transaction,
    TransactionRoute,
    Watcher,
    WithResources,
    WithRules,
    once,
)
from app.api.http.feeds import Wait, until
from app.api.jobs.schemas import JobOut, JobPage, JobQuery, ResultOut
from app.domain.job_options import JobChange
from app.domain.jobs import Job
from app.domain.projects import Caller
from app.domain.submission import JobRequest
from app.services.jobs import artifacts
from app.services.jobs import service as jobs
from app.services.jobs import submit as submissions

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=TransactionRoute)


def _tagged(response: Response, job: Job) -> JobOut:
    response.headers["ETag"] = job.etag
    return JobOut.of(job)


def _created(
    response: Response,
    transaction: Connection,
    caller: Caller,
    *,
    key: str | None,
    payload: list[Any],
    make: Callable[[], Job],
) -> JobOut:
    """Make the job once for the key, and say where it is."""
    job = once(
        response,
        transaction,
        caller,
        key=key,
        payload=payload,
        make=lambda: JobOut.of(make()),
        again=lambda made: JobOut.of(jobs.get(transaction, caller, made)),
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.post("", status_code=HTTPStatus.ACCEPTED)
def create_job(
    request: JobRequest,
    response: Response,
    caller: Submitter,
    rules: WithRules,
    transaction: Queueing,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Queue a pruning job; `Location` is where to watch it."""
    job = _created(
        response,
        transaction,
        caller,
        key=idempotency_key,
        payload=["submit", request],
        make=lambda: submissions.submit(transaction, caller, request, rules),
    )
    transaction.commit()
    return job


@router.get("")
def list_jobs(
    query: Annotated[JobQuery, Query()], caller: Reader, transaction: Transaction
) -> JobPage:
    """List jobs, newest first unless sorted otherwise."""
    found, cursor = jobs.page(
        transaction, caller, limit=query.limit, cursor=query.cursor, only=query.filter()
    )
    return JobPage(jobs=[JobOut.of(job) for job in found], next_cursor=cursor)


@router.get("/{job_id}", responses={200: {"headers": {"ETag": ETAG}}})
async def get_job(
    job_id: str,
    response: Response,
    resources: WithResources,
    caller: Watcher,
    wait: Wait = 0,
) -> JobOut:
    """Look at one job, now or when it has ended."""

    def look() -> Job:
        with resources.engine.connect() as connection:
            return jobs.get(connection, caller, job_id)

    found = await until(
        resources.hub, job_id, look, ended=lambda job: job.status.terminal, wait=wait
    )
    return _tagged(response, found)


@router.get("/{job_id}/result")
def get_job_result(job_id: str, caller: Reader, transaction: Transaction) -> ResultOut:
    """How the job ended. 404 until it has; from then on 200, also where it failed."""
    job = jobs.get_ended(transaction, caller, job_id)
    return ResultOut.of(job, artifacts.listing(transaction, caller, job_id))


@router.patch("/{job_id}")
def update_job(
    job_id: str,
    wanted: JobChange,
    response: Response,
    caller: Submitter,
    transaction: Transaction,
    if_match: IfMatch = None,
) -> JobOut:
    """Set labels, metadata or priority."""
    return _tagged(response, jobs.change(transaction, caller, job_id, wanted, if_match))


@router.post("/{job_id}/cancel")
def cancel_job(
    job_id: str,
    response: Response,
    caller: Submitter,
    transaction: Transaction,
    if_match: IfMatch = None,
) -> JobOut:
    """Stop a job: at once while it is queued, at the next block while it runs."""
    return _tagged(response, jobs.cancel(transaction, caller, job_id, if_match))


@router.delete("/{job_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_job(
    job_id: str,
    resources: WithResources,
    caller: Submitter,
    transaction: Transaction,
    after: BackgroundTasks,
    if_match: IfMatch = None,
) -> None:
    """Remove an ended job with its events and files."""
    job = jobs.delete(transaction, caller, job_id, if_match)
    # Runs after the commit; where the process dies before, maintenance finds the files.
    after.add_task(resources.store.discard, job.id, job.attempt)


@router.post("/{job_id}/retry", status_code=HTTPStatus.ACCEPTED)
def retry_job(
    job_id: str,
    response: Response,
    caller: Submitter,
    rules: WithRules,
    transaction: Queueing,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Submit a failed or cancelled job again, as a new job."""
    return _created(
        response,
        transaction,
        caller,
        key=idempotency_key,
        payload=["retry", job_id],
        make=lambda: submissions.retry(transaction, caller, job_id, rules),
    )


@router.post("/{job_id}/clone", status_code=HTTPStatus.ACCEPTED)
def clone_job(
    job_id: str,
    changes: Annotated[
        dict[str, Any],
        Body(
            description="fields of a job to set anew; null puts one back to its default",
            examples=[{"sparsity": 0.6}],
        ),
    ],
    response: Response,
    caller: Submitter,
    rules: WithRules,
    transaction: Queueing,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Submit the request of any job again, with changes."""

    def make() -> Job:
        try:
            return submissions.clone(transaction, caller, job_id, changes, rules)
        except ValidationError as error:
            issues = [issue | {"loc": ("body", *issue["loc"])} for issue in error.errors()]
            raise RequestValidationError(issues, body=changes) from error

    return _created(
        response,
        transaction,
        caller,
        key=idempotency_key,
        payload=["clone", job_id, changes],
        make=make,
    )
