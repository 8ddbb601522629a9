"""`/v1/jobs/{id}/events`, `/v1/sweeps/{id}/events`: the log as a list, or as it grows."""

from fastapi import APIRouter, Response

from app.api.events.log import RESPONSES, WithLogRequest
from app.api.jobs.schemas import EventPage
from app.services.jobs import service as jobs
from app.services.sweeps import service as sweeps

router = APIRouter(prefix="/v1", tags=["events"])


@router.get("/jobs/{job_id}/events", response_model=EventPage, responses=RESPONSES)
async def of_job(job_id: str, request: WithLogRequest) -> Response:
    """Read the job's event log, oldest first."""
    return await request.answer(jobs, job_id)


@router.get("/sweeps/{sweep_id}/events", response_model=EventPage, responses=RESPONSES)
async def of_sweep(sweep_id: str, request: WithLogRequest) -> Response:
    """Read the sweep's event log, oldest first: what its members reached, and what it did."""
    return await request.answer(sweeps, sweep_id)
