"""`/v1/plans`: try a submit without submitting."""

from fastapi import APIRouter

from app.api.http.endpoints import Submitter, Transaction, TransactionRoute, WithRules
from app.api.plans.schemas import PlanOut
from app.domain.submission import JobRequest
from app.services.jobs import plans

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=TransactionRoute)


@router.post("")
def create_plan(
    request: JobRequest, caller: Submitter, rules: WithRules, transaction: Transaction
) -> PlanOut:
    """Tell what a job would do. Refused whenever `POST /v1/jobs` would refuse the same now."""
    return PlanOut.of(plans.plan(transaction, caller, request, rules))
